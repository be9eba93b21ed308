//! Forms as Stripe's clients send them: `line_items[0][price]=price_1&metadata[a]=b&expand[]=data.product`.
//!
//! Decoding keeps the tree of names and knows no types: whether `metadata[0]` is a list or a key that is a number depends
//! on the parameter, which [`super::parameters`] knows.

/// How deep names may be nested.
const DEEPEST: usize = 12;

/// A value, or named values under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tree {
    Leaf(String),
    Branch(Vec<(String, Tree)>),
}

/// Why a body is no form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FormError {
    #[error("a percent sign is not followed by two hexadecimal digits, or the bytes are not UTF-8")]
    Encoding,
    #[error("a name has unbalanced brackets or is nested too deeply")]
    Name,
    #[error("a name is used for a value and for an object")]
    Mixed,
}

impl Tree {
    /// Reads a query string or a body.
    ///
    /// # Errors
    /// [`FormError`] says what cannot be read.
    pub(super) fn parse(text: &str) -> Result<Self, FormError> {
        let mut fields = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (unescape(name)?, unescape(value)?);
            insert(&mut fields, &path(&name)?, value)?;
        }
        Ok(Self::Branch(fields))
    }

    /// The fields under this name; none if it is a value.
    pub(super) fn fields(&self) -> &[(String, Tree)] {
        match self {
            Self::Leaf(_) => &[],
            Self::Branch(fields) => fields,
        }
    }

    /// The value with this name; empty if there is none.
    pub(super) fn value(&self, name: &str) -> &str {
        match self.fields().iter().find(|(field, _)| field == name) {
            Some((_, Self::Leaf(text))) => text,
            _ => "",
        }
    }

    /// Takes a field out.
    pub(super) fn take(&mut self, name: &str) -> Option<Self> {
        let Self::Branch(fields) = self else { return None };
        let place = fields.iter().position(|(field, _)| field == name)?;
        Some(fields.remove(place).1)
    }

    /// Adds the fields of another tree, which win.
    pub(super) fn merge(&mut self, other: Self) {
        let (Self::Branch(fields), Self::Branch(others)) = (self, other) else { return };
        for (name, tree) in others {
            fields.retain(|(field, _)| *field != name);
            fields.push((name, tree));
        }
    }

    /// Every value with its whole name, sorted: two forms that say the same have the same text.
    pub(super) fn canonical(&self) -> String {
        let mut lines = Vec::new();
        self.collect("", &mut lines);
        lines.sort();
        lines.join("\n")
    }

    fn collect(&self, name: &str, lines: &mut Vec<String>) {
        match self {
            Self::Leaf(value) => lines.push(format!("{name}={value:?}")),
            Self::Branch(fields) => {
                for (field, tree) in fields {
                    tree.collect(&format!("{name}[{field}]"), lines);
                }
            }
        }
    }
}

fn insert(fields: &mut Vec<(String, Tree)>, path: &[String], value: String) -> Result<(), FormError> {
    let Some((first, rest)) = path.split_first() else { return Err(FormError::Name) };
    let name = if first.is_empty() { next_in_list(fields, rest) } else { first.clone() };
    let place = fields.iter().position(|(field, _)| *field == name);
    match (place, rest.is_empty()) {
        (None, true) => fields.push((name, Tree::Leaf(value))),
        (None, false) => {
            let mut inner = Vec::new();
            insert(&mut inner, rest, value)?;
            fields.push((name, Tree::Branch(inner)));
        }
        (Some(place), is_value) => match (&mut fields[place].1, is_value) {
            (Tree::Leaf(former), true) => *former = value,
            (Tree::Branch(inner), false) => insert(inner, rest, value)?,
            _ => return Err(FormError::Mixed),
        },
    }
    Ok(())
}

/// Where `[]` puts a value: behind the last, or into the last as long as that lacks the name that follows.
fn next_in_list(fields: &[(String, Tree)], rest: &[String]) -> String {
    if let (Some((name, Tree::Branch(inner))), Some(next)) = (fields.last(), rest.first())
        && !next.is_empty()
        && !inner.iter().any(|(field, _)| field == next)
    {
        return name.clone();
    }
    fields.len().to_string()
}

fn path(name: &str) -> Result<Vec<String>, FormError> {
    let Some((first, rest)) = name.split_once('[') else {
        return if name.is_empty() { Err(FormError::Name) } else { Ok(vec![name.to_owned()]) };
    };
    let inner = rest.strip_suffix(']').ok_or(FormError::Name)?;
    let mut path = vec![first.to_owned()];
    path.extend(inner.split("][").map(str::to_owned));
    let is_sound = path.len() <= DEEPEST && !path.iter().any(|part| part.contains(['[', ']']));
    if is_sound && !first.is_empty() { Ok(path) } else { Err(FormError::Name) }
}

fn unescape(text: &str) -> Result<String, FormError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || {
                    rest.next().and_then(|digit| char::from(digit).to_digit(16)).ok_or(FormError::Encoding)
                };
                u8::try_from(digit()? * 16 + digit()?).map_err(|_| FormError::Encoding)?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| FormError::Encoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(text: &str) -> Tree {
        Tree::Leaf(text.to_owned())
    }

    fn branch<const N: usize>(fields: [(&str, Tree); N]) -> Tree {
        Tree::Branch(fields.map(|(name, tree)| (name.to_owned(), tree)).into())
    }

    #[test]
    fn brackets_nest_and_escapes_are_undone() {
        let tree =
            Tree::parse("line_items%5B0%5D%5Bprice%5D=price_1&line_items[0][quantity]=2&name=J%C3%BCrgen+B");
        let items = branch([("0", branch([("price", leaf("price_1")), ("quantity", leaf("2"))]))]);
        assert_eq!(tree, Ok(branch([("line_items", items), ("name", leaf("Jürgen B"))])));
    }

    #[test]
    fn empty_brackets_append() {
        let tree = Tree::parse("expand[]=a&expand[]=b&x[][a]=1&x[][b]=2&x[][a]=3");
        let list = branch([("0", leaf("a")), ("1", leaf("b"))]);
        let objects =
            branch([("0", branch([("a", leaf("1")), ("b", leaf("2"))])), ("1", branch([("a", leaf("3"))]))]);
        assert_eq!(tree, Ok(branch([("expand", list), ("x", objects)])));
    }

    #[test]
    fn what_is_no_form_is_refused() {
        assert_eq!(Tree::parse("a=%zz"), Err(FormError::Encoding));
        assert_eq!(Tree::parse("a=%"), Err(FormError::Encoding));
        assert_eq!(Tree::parse("a[b=1"), Err(FormError::Name));
        assert_eq!(Tree::parse("[b]=1"), Err(FormError::Name));
        assert_eq!(Tree::parse("=1"), Err(FormError::Name));
        assert_eq!(Tree::parse("a=1&a[b]=2"), Err(FormError::Mixed));
        assert_eq!(Tree::parse(&format!("a{}=1", "[b]".repeat(DEEPEST))), Err(FormError::Name));
    }

    #[test]
    fn the_last_value_of_a_name_counts() {
        assert_eq!(Tree::parse("a=1&a=2"), Ok(branch([("a", leaf("2"))])));
    }

    #[test]
    fn order_does_not_change_what_a_form_says() {
        let one = Tree::parse("b=2&a[x]=1").map(|tree| tree.canonical());
        let other = Tree::parse("a[x]=1&b=2").map(|tree| tree.canonical());
        assert_eq!(one, other);
        assert_ne!(one, Tree::parse("a[x]=1&b=3").map(|tree| tree.canonical()));
    }
}
