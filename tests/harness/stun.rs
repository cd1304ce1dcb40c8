//! ICE connectivity checks spelled out (RFC 8445, 7.2; RFC 8489): true ones and forged ones.

use ring::hmac;

/// A check to whom `ufrag` names, by whom `peer` names, signed with `password`.
pub fn check(ufrag: &str, peer: &str, password: &str) -> Vec<u8> {
    let mut message = vec![0x00, 0x01, 0x00, 0x00, 0x21, 0x12, 0xa4, 0x42];
    message.extend([7; 12]);
    push(&mut message, 0x0006, format!("{ufrag}:{peer}").as_bytes());
    push(&mut message, 0x0024, &0x6e00_01ff_u32.to_be_bytes());
    push(&mut message, 0x802a, &42_u64.to_be_bytes());
    set_length(&mut message, 24);
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
    let signature = hmac::sign(&key, &message);
    push(&mut message, 0x0008, signature.as_ref());
    set_length(&mut message, 0);
    message
}

/// Whether `message` says that a check succeeded.
pub fn is_success(message: &[u8]) -> bool {
    message.starts_with(&[0x01, 0x01])
}

fn push(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend(kind.to_be_bytes());
    message.extend((value.len() as u16).to_be_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

fn set_length(message: &mut [u8], more: usize) {
    let length = (message.len() - 20 + more) as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
}
