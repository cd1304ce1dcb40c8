//! As much of STUN as a shared port needs (RFC 8489): for whom a binding request is, and whether its sender knows
//! the password.

use ring::hmac;

const HEADER: usize = 20;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const INTEGRITY_LENGTH: usize = 20;

/// What a password becomes: the key that requests are signed with (RFC 8489, 9.1.1).
pub(super) fn key(password: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes())
}

/// A binding request that names whom it is for and claims to be signed.
pub(super) struct BindingRequest<'a> {
    message: &'a [u8],
    username: &'a str,
    /// Where the attribute with the signature begins.
    integrity: usize,
}

impl<'a> BindingRequest<'a> {
    /// Reads a datagram; cheap for whatever is something else.
    pub(super) fn parse(message: &'a [u8]) -> Option<Self> {
        let header = message.get(..HEADER)?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if header[..2] != BINDING_REQUEST || header[4..8] != MAGIC_COOKIE || length != message.len() - HEADER {
            return None;
        }
        let mut username = None;
        // What follows the signature is not covered by it, so nothing there counts (RFC 8489, 14.5).
        for attribute in Attributes::of(message) {
            match attribute.kind {
                USERNAME => username = username.or(std::str::from_utf8(attribute.value).ok()),
                MESSAGE_INTEGRITY if attribute.value.len() == INTEGRITY_LENGTH => {
                    return Some(Self { message, username: username?, integrity: attribute.start });
                }
                _ => {}
            }
        }
        None
    }

    /// The username fragment of the agent that is asked; its name stands first (RFC 8445, 7.2.2).
    pub(super) fn recipient(&self) -> &'a str {
        self.username.split_once(':').map_or(self.username, |(recipient, _)| recipient)
    }

    /// Whether it was signed with `key`.
    pub(super) fn is_signed_with(&self, key: &hmac::Key) -> bool {
        let mut signed = self.message[..self.integrity].to_vec();
        // The signature covers a header whose length ends with the signature.
        let length = self.integrity + 4 + INTEGRITY_LENGTH - HEADER;
        signed[2..4].copy_from_slice(&(length as u16).to_be_bytes());
        let signature = &self.message[self.integrity + 4..][..INTEGRITY_LENGTH];
        hmac::verify(key, &signed, signature).is_ok()
    }
}

struct Attribute<'a> {
    kind: u16,
    value: &'a [u8],
    start: usize,
}

/// The attributes of a message, as far as they are whole.
struct Attributes<'a> {
    message: &'a [u8],
    next: usize,
}

impl<'a> Attributes<'a> {
    fn of(message: &'a [u8]) -> Self {
        Self { message, next: HEADER }
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.next;
        let head = self.message.get(start..start + 4)?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let value = self.message.get(start + 4..start + 4 + length)?;
        self.next = start + 4 + length.next_multiple_of(4);
        Some(Attribute { kind: u16::from_be_bytes([head[0], head[1]]), value, start })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A binding request as `username` would send it, signed with `password`.
    pub(in super::super) fn request(username: &str, password: &str) -> Vec<u8> {
        let mut message = vec![0; HEADER];
        message[..2].copy_from_slice(&BINDING_REQUEST);
        message[4..8].copy_from_slice(&MAGIC_COOKIE);
        push(&mut message, 0x0024, &[1, 2, 3, 4]);
        push(&mut message, USERNAME, username.as_bytes());
        let length = (message.len() + 4 + INTEGRITY_LENGTH - HEADER) as u16;
        message[2..4].copy_from_slice(&length.to_be_bytes());
        let signature = hmac::sign(&key(password), &message);
        push(&mut message, MESSAGE_INTEGRITY, signature.as_ref());
        push(&mut message, 0x8028, &[0; 4]);
        let length = (message.len() - HEADER) as u16;
        message[2..4].copy_from_slice(&length.to_be_bytes());
        message
    }

    fn push(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
        message.extend(kind.to_be_bytes());
        message.extend((value.len() as u16).to_be_bytes());
        message.extend(value);
        message.resize(message.len().next_multiple_of(4), 0);
    }

    #[test]
    fn a_request_names_its_recipient_and_proves_the_password() {
        let message = request("here:there", "secret");
        let parsed = BindingRequest::parse(&message).unwrap();
        assert_eq!(parsed.recipient(), "here");
        assert!(parsed.is_signed_with(&key("secret")));
        assert!(!parsed.is_signed_with(&key("guess")));
    }

    #[test]
    fn the_example_of_rfc_5769_is_understood() {
        // RFC 5769, 2.1: the sample request.
        let message: &[u8] = &[
            0x00, 0x01, 0x00, 0x58, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87,
            0xdf, 0xae, 0x80, 0x22, 0x00, 0x10, 0x53, 0x54, 0x55, 0x4e, 0x20, 0x74, 0x65, 0x73, 0x74, 0x20, 0x63, 0x6c,
            0x69, 0x65, 0x6e, 0x74, 0x00, 0x24, 0x00, 0x04, 0x6e, 0x00, 0x01, 0xff, 0x80, 0x29, 0x00, 0x08, 0x93, 0x2f,
            0xf9, 0xb1, 0x51, 0x26, 0x3b, 0x36, 0x00, 0x06, 0x00, 0x09, 0x65, 0x76, 0x74, 0x6a, 0x3a, 0x68, 0x36, 0x76,
            0x59, 0x20, 0x20, 0x20, 0x00, 0x08, 0x00, 0x14, 0x9a, 0xea, 0xa7, 0x0c, 0xbf, 0xd8, 0xcb, 0x56, 0x78, 0x1e,
            0xf2, 0xb5, 0xb2, 0xd3, 0xf2, 0x49, 0xc1, 0xb5, 0x71, 0xa2, 0x80, 0x28, 0x00, 0x04, 0xe5, 0x7a, 0x3b, 0xcf,
        ];
        let parsed = BindingRequest::parse(message).unwrap();
        assert_eq!(parsed.recipient(), "evtj");
        assert!(parsed.is_signed_with(&key("VOkJxbRl1RmTxUk/WvJxBt")));
    }

    #[test]
    fn what_is_changed_under_a_signature_shows() {
        let message = request("here:there", "secret");
        for index in (0..2).chain(4..message.len() - 8) {
            let mut changed = message.clone();
            changed[index] ^= 1;
            let genuine = BindingRequest::parse(&changed).is_some_and(|parsed| parsed.is_signed_with(&key("secret")));
            assert!(!genuine, "byte {index}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(noise in proptest::collection::vec(any::<u8>(), 0..200), cut in 0_usize..120) {
            let parsed = BindingRequest::parse(&noise);
            prop_assert!(parsed.is_none_or(|parsed| !parsed.is_signed_with(&key("secret"))));
            let mut message = request("here:there", "secret");
            message.truncate(cut);
            let length = message.len().saturating_sub(HEADER) as u16;
            if let Some(field) = message.get_mut(2..4) {
                field.copy_from_slice(&length.to_be_bytes());
            }
            if let Some(parsed) = BindingRequest::parse(&message) {
                parsed.is_signed_with(&key("secret"));
            }
        }
    }
}
