//! Arrays as parameters, laid out as they travel while they are being filled: each value is copied once, and nothing that
//! it came from has to be kept until it is sent.

use std::error::Error;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{IsNull, Kind, ToSql, Type, to_sql_checked};

/// The subscript of the first element.
const LOWER_BOUND: i32 = 1;

/// A column of values for `unnest`, of which some may be absent.
///
/// One without any value travels as an empty array: among several arrays `unnest` fills up the shorter ones with NULLs,
/// and most of what an event may have most events have not.
#[derive(Debug)]
pub struct Array {
    element: Type,
    values: BytesMut,
    count: i32,
    absent: i32,
    failure: Option<String>,
}

impl Array {
    /// An empty array of elements of this type.
    pub fn of(element: Type) -> Self {
        Self { element, values: BytesMut::new(), count: 0, absent: 0, failure: None }
    }

    /// Adds a value, or its absence. A value that cannot be written as the element's type is found when the array is to be
    /// sent: nothing is sent then.
    pub fn push<T: ToSql>(&mut self, value: T) {
        let start = self.values.len();
        self.count += 1;
        self.values.put_i32(-1);
        let written = if T::accepts(&self.element) {
            value.to_sql(&self.element, &mut self.values).map_err(|error| error.to_string())
        } else {
            Err(format!("a value is no {}", self.element))
        };
        match written {
            Ok(IsNull::Yes) => self.absent += 1,
            Ok(IsNull::No) => match i32::try_from(self.values.len() - start - 4) {
                Ok(length) => self.values[start..start + 4].copy_from_slice(&length.to_be_bytes()),
                Err(error) => self.failure = Some(error.to_string()),
            },
            Err(error) => self.failure = Some(error),
        }
    }

    /// Whether nothing was added, not even an absence.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl ToSql for Array {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone().into());
        }
        let is_present = self.absent < self.count;
        out.put_i32(i32::from(is_present));
        out.put_i32(i32::from(is_present && self.absent > 0));
        out.put_u32(self.element.oid());
        if is_present {
            out.put_i32(self.count);
            out.put_i32(LOWER_BOUND);
            out.put_slice(&self.values);
        }
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        matches!(kind.kind(), Kind::Array(_))
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(array: &Array) -> Result<Vec<u8>, String> {
        let mut out = BytesMut::new();
        let written = array.to_sql_checked(&Type::INT8_ARRAY, &mut out);
        written.map(|_| out.to_vec()).map_err(|error| error.to_string())
    }

    /// As the library itself writes it.
    fn expected<T: ToSql + std::fmt::Debug>(values: Vec<T>, kind: &Type) -> Vec<u8> {
        let mut out = BytesMut::new();
        values.to_sql_checked(kind, &mut out).expect("encodes");
        out.to_vec()
    }

    #[test]
    fn an_array_travels_as_the_library_writes_it() {
        let mut numbers = Array::of(Type::INT8);
        let values = vec![Some(1_i64), None, Some(-7)];
        values.iter().for_each(|value| numbers.push(*value));
        assert_eq!(sent(&numbers), Ok(expected(values, &Type::INT8_ARRAY)));

        let mut texts = Array::of(Type::TEXT);
        let values = vec!["one", "", "zwölf"];
        values.iter().for_each(|value| texts.push(*value));
        assert_eq!(sent(&texts), Ok(expected(values, &Type::TEXT_ARRAY)));
        assert!(!texts.is_empty());
    }

    #[test]
    fn an_array_without_any_value_travels_empty() {
        let mut nothing = Array::of(Type::INT8);
        assert!(nothing.is_empty());
        nothing.push(None::<i64>);
        nothing.push(None::<i64>);
        assert!(!nothing.is_empty());
        // No dimensions, no absences, elements of type 20: as PostgreSQL itself writes it.
        assert_eq!(sent(&nothing), Ok([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 20]].concat()));
    }

    #[test]
    fn a_value_of_another_type_is_not_sent() {
        let mut numbers = Array::of(Type::INT8);
        numbers.push(1_i64);
        numbers.push("two");
        assert_eq!(sent(&numbers), Err("a value is no int8".to_owned()));
    }
}
