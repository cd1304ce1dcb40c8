//! The ICE session of a connection: trickled candidates and restarts, as a client PATCHes them (RFC 9725, 4.3).

use std::{sync::Arc, time::Duration};

use rtc::peer_connection::transport::RTCIceCandidateInit;
use tokio::{sync::oneshot, time::Instant};
use webrtc::peer_connection::{PeerConnection, RTCSessionDescription};

use super::{
    candidate::{Candidate, MAX_CANDIDATES},
    connection::GATHERING_LIMIT,
    offer::Offer,
    port::Inlet,
    sdpfrag::Fragment,
};
use crate::web::etag::{EntityTag, IfMatch};

/// How long the library may take for one step of a restart before the client is told to try again.
const STEP_LIMIT: Duration = Duration::from_secs(3);

/// What a client asks for, and where it hears of it.
pub(super) struct Patch {
    pub(super) condition: IfMatch,
    pub(super) fragment: Fragment,
    pub(super) reply: Reply,
}

pub(super) type Reply = oneshot::Sender<Result<Patched, PatchError>>;

/// What a PATCH came to.
#[derive(Debug)]
pub enum Patched {
    /// The candidates are in use.
    Trickled,
    /// ICE begins anew.
    Restarted {
        /// Our end of the new ICE session, as a fragment.
        fragment: String,
        /// The new ICE session's tag.
        tag: EntityTag,
    },
}

/// Why a PATCH changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The connection is over.
    #[error("there is no such session; it may have ended already")]
    Gone,
    /// It is about another ICE session than the present one.
    #[error("If-Match names another ICE session; the ETag of the last 201 or 200 is the present one's")]
    OtherSession,
    /// A restart that gives no credentials.
    #[error("If-Match: * restarts ICE, which needs ice-ufrag and ice-pwd; candidates alone need the ETag")]
    NoCredentials,
    /// A restart that repeats credentials.
    #[error("the fragment repeats credentials that are in use; to restart ICE change both ice-ufrag and ice-pwd")]
    SameCredentials,
    /// It is about a section that there is not.
    #[error("the fragment is about a section that was not offered; use the a=mid of the first one")]
    OtherSection,
    /// Another restart came in between.
    #[error("another restart came before this one was done; the answer to that one counts")]
    Superseded,
    /// The library takes too long.
    #[error("ICE did not restart in time; try again")]
    Late,
    /// The library refuses.
    #[error("ICE cannot restart: {0}; the session goes on as it is")]
    Refused(String),
}

/// What is to happen.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    Trickle,
    Restart,
}

/// The present ICE session.
pub(super) struct Ice {
    connection: Arc<dyn PeerConnection>,
    /// As long as it is held, what the client sends arrives.
    inlet: Inlet,
    /// The offer, with what was said of ICE since.
    offer: Offer,
    tag: EntityTag,
    /// Remote candidates so far.
    candidates: usize,
    restarting: Option<Restarting>,
}

/// A restart that waits for our candidates.
struct Restarting {
    reply: Reply,
    deadline: Instant,
}

impl Ice {
    pub(super) fn new(connection: Arc<dyn PeerConnection>, inlet: Inlet, offer: Offer) -> Self {
        let candidates = offer.sdp.matches("a=candidate:").count();
        Self { connection, inlet, offer, tag: EntityTag::generate(), candidates, restarting: None }
    }

    /// The ICE session's tag.
    pub(super) fn tag(&self) -> EntityTag {
        self.tag.clone()
    }

    /// Does what `patch` asks for; the client hears of a restart once our candidates are gathered.
    pub(super) async fn patch(&mut self, patch: Patch) {
        let Patch { condition, fragment, reply } = patch;
        let done = match judge(&self.offer, &self.tag, &condition, &fragment) {
            Err(error) => Err(error),
            Ok(Change::Trickle) => {
                self.trickle(fragment.candidates).await;
                Ok(Patched::Trickled)
            }
            Ok(Change::Restart) => match self.restart(fragment).await {
                Ok(()) => {
                    let restarting = Restarting { reply, deadline: Instant::now() + GATHERING_LIMIT };
                    if let Some(older) = self.restarting.replace(restarting) {
                        older.reply.send(Err(PatchError::Superseded)).ok();
                    }
                    return;
                }
                Err(error) => Err(error),
            },
        };
        // A client that hung up hears nothing.
        reply.send(done).ok();
    }

    /// When a restart has waited long enough for our candidates.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.restarting.as_ref().map(|restarting| restarting.deadline)
    }

    /// Our candidates are gathered, or are not in time: a restart under way is answered with those there are.
    pub(super) async fn gathered(&mut self) {
        let Some(Restarting { reply, .. }) = self.restarting.take() else { return };
        let local = tokio::time::timeout(STEP_LIMIT, self.connection.local_description()).await;
        let done = match local {
            Ok(Some(local)) => {
                let fragment = Fragment::of_description(&self.inlet.publish(&local.sdp));
                Ok(Patched::Restarted { fragment, tag: self.tag.clone() })
            }
            Ok(None) => Err(PatchError::Refused("there is no description of our end".into())),
            Err(_elapsed) => Err(PatchError::Late),
        };
        reply.send(done).ok();
    }

    /// Candidates beyond the bound, and such that the library minds, are left out (RFC 9725, 4.3.2).
    async fn trickle(&mut self, candidates: Vec<Candidate>) {
        for candidate in candidates.into_iter().take(MAX_CANDIDATES.saturating_sub(self.candidates)) {
            self.candidates += 1;
            let init = RTCIceCandidateInit { candidate: candidate.to_string(), ..RTCIceCandidateInit::default() };
            if let Err(error) = self.connection.add_ice_candidate(init).await {
                tracing::debug!(%error, "a candidate is left out");
            }
        }
    }

    /// Begins a new ICE session with the client's new end of it.
    async fn restart(&mut self, fragment: Fragment) -> Result<(), PatchError> {
        let Some(credentials) = fragment.credentials else { return Err(PatchError::NoCredentials) };
        let offer = self.offer.restarted(credentials, &fragment.candidates);
        let renewed = async {
            self.connection.set_remote_description(RTCSessionDescription::offer(offer.sdp.clone())?).await?;
            let answer = self.connection.create_answer(None).await?;
            self.connection.set_local_description(answer).await
        };
        // In a box, because the library's futures are large.
        match tokio::time::timeout(STEP_LIMIT, Box::pin(renewed)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(PatchError::Refused(error.to_string())),
            Err(_elapsed) => return Err(PatchError::Late),
        }
        tracing::debug!("ICE restarts");
        (self.offer, self.tag, self.candidates) = (offer, EntityTag::generate(), fragment.candidates.len());
        Ok(())
    }
}

/// What `fragment` asks of the ICE session `tag` that `offer` began.
fn judge(offer: &Offer, tag: &EntityTag, condition: &IfMatch, fragment: &Fragment) -> Result<Change, PatchError> {
    if !condition.holds(tag) {
        return Err(PatchError::OtherSession);
    }
    if !fragment.mids.iter().all(|mid| offer.mids.contains(mid)) {
        return Err(PatchError::OtherSection);
    }
    let known = &offer.credentials;
    match &fragment.credentials {
        None if *condition == IfMatch::Any => Err(PatchError::NoCredentials),
        None => Ok(Change::Trickle),
        Some(same) if same == known && *condition == IfMatch::Any => Err(PatchError::SameCredentials),
        Some(same) if same == known => Ok(Change::Trickle),
        Some(half) if half.ufrag == known.ufrag || half.pwd == known.pwd => Err(PatchError::SameCredentials),
        Some(_) => Ok(Change::Restart),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::credentials::Credentials, *};

    const PWD: &str = "abcdefghijklmnopqrstuv";

    fn fragment(ufrag: &str, pwd: &str) -> Fragment {
        Fragment { credentials: Credentials::new(ufrag, pwd), mids: vec!["0".into()], ..Fragment::default() }
    }

    #[test]
    fn credentials_and_condition_say_what_is_meant() {
        let offer = Offer {
            sdp: String::new(),
            setup_active: false,
            data_channel: false,
            credentials: Credentials::new("abcd", PWD).unwrap(),
            mids: vec!["0".into()],
        };
        let tag = EntityTag::generate();
        let (this, other) = (IfMatch::Tags(vec![tag.clone()]), IfMatch::Tags(vec![EntityTag::generate()]));
        let judged = |condition: &IfMatch, fragment: &Fragment| judge(&offer, &tag, condition, fragment);
        let (same, new) = (fragment("abcd", PWD), fragment("wxyz", &PWD.to_uppercase()));
        let (half, none) = (fragment("wxyz", PWD), fragment("", ""));
        assert_eq!(judged(&this, &same), Ok(Change::Trickle));
        assert_eq!(judged(&this, &none), Ok(Change::Trickle));
        assert_eq!(judged(&IfMatch::Any, &new), Ok(Change::Restart));
        assert_eq!(judged(&this, &new), Ok(Change::Restart));
        assert_eq!(judged(&other, &new), Err(PatchError::OtherSession));
        assert_eq!(judged(&other, &same), Err(PatchError::OtherSession));
        assert_eq!(judged(&IfMatch::Any, &same), Err(PatchError::SameCredentials));
        assert_eq!(judged(&IfMatch::Any, &half), Err(PatchError::SameCredentials));
        assert_eq!(judged(&IfMatch::Any, &none), Err(PatchError::NoCredentials));
        let elsewhere = Fragment { mids: vec!["9".into()], ..new };
        assert_eq!(judged(&IfMatch::Any, &elsewhere), Err(PatchError::OtherSection));
    }
}
