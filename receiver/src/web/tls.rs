//! The certificate of the HTTP server.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use rustls::{
    ServerConfig,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
};

/// Where a certificate and its key are.
#[derive(Clone, Debug)]
pub struct Identity {
    /// PEM, the server's certificate first, then those in between it and a root.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

/// Why a certificate cannot be used. The message says what to try.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read as PEM.
    #[error("cannot read {what} from {path}: {problem}")]
    Unreadable {
        /// What should be in it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What went wrong.
        problem: String,
    },
    /// The certificate and the key do not fit.
    #[error("{certificate} and {key} cannot be used together: {problem}")]
    Unusable {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls says.
        problem: rustls::Error,
    },
    /// The certificate's time is over, or still to come.
    #[error("the certificate in {path} {when}: renew it, or check this machine's clock")]
    OutOfDate {
        /// The file.
        path: PathBuf,
        /// Since or until when.
        when: String,
    },
}

impl Identity {
    /// Reads both files, checks that they fit together and are good at `now`.
    pub fn load(&self, now: SystemTime) -> Result<Arc<ServerConfig>, TlsError> {
        let chain = self.chain()?;
        check_dates(&self.certificate, &chain[0], now)?;
        let key =
            PrivateKeyDer::from_pem_file(&self.key).map_err(|error| unreadable("a private key", &self.key, &error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let unusable =
            |problem| TlsError::Unusable { certificate: self.certificate.clone(), key: self.key.clone(), problem };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(rustls::DEFAULT_VERSIONS)
            .map_err(unusable)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(unusable)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let unreadable = |error: pem::Error| unreadable("a certificate", &self.certificate, &error);
        let sections = CertificateDer::pem_file_iter(&self.certificate).map_err(unreadable)?;
        let chain = sections.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
        if chain.is_empty() { Err(unreadable(pem::Error::NoItemsFound)) } else { Ok(chain) }
    }
}

fn unreadable(what: &'static str, path: &Path, error: &pem::Error) -> TlsError {
    let problem = match error {
        pem::Error::NoItemsFound => "there is none in it; it has to be PEM (-----BEGIN …)".into(),
        pem::Error::Io(error) => error.to_string(),
        // Anything else quotes the file, which may hold the key.
        _ => "it is damaged PEM".into(),
    };
    TlsError::Unreadable { what, path: path.to_owned(), problem }
}

/// Clients would refuse such a certificate one by one, each with words of its own.
fn check_dates(path: &Path, certificate: &CertificateDer<'_>, now: SystemTime) -> Result<(), TlsError> {
    let parsed = x509_parser::parse_x509_certificate(certificate);
    let (_, parsed) = parsed.map_err(|_damaged| TlsError::Unreadable {
        what: "a certificate",
        path: path.to_owned(),
        problem: "it is no X.509 certificate".into(),
    })?;
    let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    let (from, until) = (parsed.validity().not_before, parsed.validity().not_after);
    let when = match () {
        () if now > until.timestamp() => format!("expired on {until}"),
        () if now < from.timestamp() => format!("is not valid before {from}"),
        () => return Ok(()),
    };
    Err(TlsError::OutOfDate { path: path.to_owned(), when })
}
