//! Ids that look like Stripe's: a prefix, then letters and digits.

use super::store::Kind;

const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A new id of this kind.
pub(super) fn new(kind: Kind) -> String {
    let length = match kind {
        Kind::Customer | Kind::Product | Kind::SubscriptionItem => 14,
        Kind::Coupon => 8,
        Kind::CheckoutSession => 56,
        _ => 23,
    };
    with_prefix(kind.prefix(), length)
}

/// A new id of a request.
pub(super) fn request() -> String {
    with_prefix("req_", 14)
}

/// Random letters and digits behind a prefix.
pub(super) fn with_prefix(prefix: &str, length: usize) -> String {
    let mut id = String::with_capacity(prefix.len() + length);
    id.push_str(prefix);
    for _ in 0..length {
        let letter = LETTERS[usize::from(rand::random::<u16>() % 62)];
        id.push(char::from(letter));
    }
    id
}

/// Random decimal digits.
pub(super) fn digits(length: usize) -> String {
    (0..length).map(|_| char::from(b'0' + rand::random::<u8>() % 10)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_begin_as_stripes_do_and_do_not_repeat() {
        let (one, other) = (new(Kind::Customer), new(Kind::Customer));
        assert!(one.starts_with("cus_") && one.len() == 18, "{one}");
        assert_ne!(one, other);
        assert!(new(Kind::CheckoutSession).starts_with("cs_test_a1"));
    }
}
