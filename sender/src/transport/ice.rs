//! How paths to the receiver are looked for (RFC 8445).

use cv_core::ice_server::IceServer;
use rtc::peer_connection::configuration::{
    RTCConfiguration, RTCConfigurationBuilder, RTCIceServer, RTCIceTransportPolicy,
};

/// Who helps to find a path, and which paths may be taken.
#[derive(Clone, Debug, Default)]
pub struct Ice {
    /// STUN and TURN servers.
    pub servers: Vec<IceServer>,
    /// Nothing goes but over a relay, so neither side learns the other's address.
    pub relay_only: bool,
}

impl Ice {
    pub(super) fn configuration(&self) -> RTCConfiguration {
        let servers = self.servers.iter().map(|server| {
            let credentials = server.credentials.clone();
            let (username, credential) = credentials.map(|who| (who.username, who.password)).unwrap_or_default();
            RTCIceServer { urls: vec![server.url()], username, credential }
        });
        let policy = if self.relay_only { RTCIceTransportPolicy::Relay } else { RTCIceTransportPolicy::All };
        RTCConfigurationBuilder::new().with_ice_servers(servers.collect()).with_ice_transport_policy(policy).build()
    }

    /// What another connection to the same receiver should know: where nobody was named here, those it named.
    pub(super) fn or_offered(&self, offered: &[IceServer]) -> Self {
        match self.servers.is_empty() {
            true => Self { servers: offered.to_vec(), ..self.clone() },
            false => self.clone(),
        }
    }
}
