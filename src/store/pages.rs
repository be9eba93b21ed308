//! Pages of lists that are looked through only so far: whoever asks for what is rare gets a page that may be short, or empty, and
//! is told where to go on, instead of having a long list read at once.
//!
//! A statement reads rows in the list's order, up to a number, and gives those that are asked for; and the last that it has looked
//! at, if it has come so far, whether that is asked for or not.

use tokio_postgres::{Error, Row};

/// A row that was looked at for a page.
#[derive(Clone, Debug)]
pub struct LookedAt<T> {
    /// What it holds.
    pub item: T,
    /// Whether it is what was asked for.
    pub is_asked_for: bool,
    /// Whether nobody has looked behind it.
    pub is_last: bool,
}

impl<T> LookedAt<T> {
    /// An item, with what its row says of it in `is_asked_for` and `is_last_looked_at`.
    ///
    /// # Errors
    /// Columns that are not there.
    pub fn from_row<E: From<Error>>(row: &Row, item: T) -> Result<Self, E> {
        let (is_asked_for, is_last) = (row.try_get("is_asked_for")?, row.try_get("is_last_looked_at")?);
        Ok(Self { item, is_asked_for, is_last })
    }
}

/// What is asked for of rows in the order of a list, up to `limit` and no further than was looked everywhere; and the place after
/// which the next page begins, if there may be more.
pub fn page<T, P>(rows: Vec<LookedAt<T>>, limit: i64, place: impl Fn(&T) -> P) -> (Vec<T>, Option<P>) {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut items = Vec::new();
    for LookedAt { item, is_asked_for, is_last } in rows {
        let end = is_last.then(|| place(&item));
        if is_asked_for {
            if items.len() == limit {
                let next = items.last().map(place);
                return (items, next);
            }
            items.push(item);
        }
        if end.is_some() {
            return (items, end);
        }
    }
    (items, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paged(rows: &[(u8, bool, bool)], limit: i64) -> (Vec<u8>, Option<u8>) {
        let row = |&(item, is_asked_for, is_last)| LookedAt { item, is_asked_for, is_last };
        page(rows.iter().map(row).collect(), limit, |item| *item)
    }

    #[test]
    fn a_page_ends_when_it_is_full_or_where_nobody_has_looked_further() {
        let (told, other, last) = ((1, true, false), (9, false, true), (3, true, true));
        assert_eq!(paged(&[], 2), (vec![], None));
        assert_eq!(paged(&[told], 1), (vec![1], None), "all there is");
        assert_eq!(paged(&[told, (2, true, false)], 1), (vec![1], Some(1)), "one more than it may have");
        assert_eq!(paged(&[told, other], 5), (vec![1], Some(9)));
        assert_eq!(paged(&[other], 5), (vec![], Some(9)), "empty, and not the last");
        assert_eq!(paged(&[told, last], 5), (vec![1, 3], Some(3)));
        assert_eq!(paged(&[last, (4, true, false)], 5), (vec![3], Some(3)), "what is behind may not be all");
        assert_eq!(paged(&[told, other, (2, true, false)], 1), (vec![1], Some(9)));
    }
}
