//! What all ids of 16 bytes have in common: kept as a number, written with a prefix.
//!
//! Events are full of them, and are written and read all the time: their texts take no detour through formatting.

use data_encoding::HEXLOWER;

/// How many hexadecimal digits an id has.
pub(super) const DIGITS: usize = 32;

/// Writes an id into all of `text`.
pub(super) fn write<'t>(text: &'t mut [u8], prefix: &str, bits: u128) -> &'t str {
    let (letters, digits) = text.split_at_mut(prefix.len());
    letters.copy_from_slice(prefix.as_bytes());
    HEXLOWER.encode_mut(&bits.to_be_bytes(), digits);
    // Prefixes and digits are ASCII.
    str::from_utf8(text).unwrap_or_default()
}

/// The number behind a prefix and 32 lower-case hexadecimal digits.
pub(super) fn parse(text: &str, prefix: &str) -> Option<u128> {
    let digits = text.strip_prefix(prefix)?.as_bytes();
    let mut bytes = [0; size_of::<u128>()];
    if digits.len() != DIGITS {
        return None;
    }
    HEXLOWER.decode_mut(digits, &mut bytes).ok()?;
    Some(u128::from_be_bytes(bytes))
}

macro_rules! bits_as_text {
    ($name:ident, $prefix:literal) => {
        impl $name {
            const PREFIX: &str = concat!($prefix, "_");
            const LENGTH: usize = Self::PREFIX.len() + bits::DIGITS;

            /// The 16 bytes as a number, for storage.
            pub fn to_bits(self) -> u128 {
                self.0
            }

            /// The id with these bits.
            pub fn from_bits(bits: u128) -> Self {
                Self(bits)
            }

            /// Reads what [`fmt::Display`] wrote.
            pub fn parse(text: &str) -> Option<Self> {
                bits::parse(text, Self::PREFIX).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(bits::write(&mut [0; Self::LENGTH], Self::PREFIX, self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, formatter)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(bits::write(&mut [0; Self::LENGTH], Self::PREFIX, self.0))
            }
        }
    };
}
