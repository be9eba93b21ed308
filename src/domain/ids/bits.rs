//! What all ids of 16 bytes have in common: kept as a number, written with a prefix.

macro_rules! bits_as_text {
    ($name:ident, $prefix:literal) => {
        impl $name {
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
                hexadecimal(text.strip_prefix(concat!($prefix, "_"))?).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!($prefix, "_{:032x}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, formatter)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}
