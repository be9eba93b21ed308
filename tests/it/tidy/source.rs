//! Rust sources as tokens: comments are gone, documentation and strings cannot be mistaken for code.

use std::{
    fs,
    path::{Path, PathBuf},
    str::FromStr,
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A place in the repository, for messages.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file, relative to the repository.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}:{}", self.file.display(), self.line)
    }
}

/// One Rust file.
pub struct Source {
    /// Its path relative to the repository.
    pub file: PathBuf,
    /// Its text.
    pub text: String,
    tokens: TokenStream,
}

/// A token outside of documentation.
pub struct Token {
    /// Where it stands.
    pub place: Place,
    /// An identifier, a literal as written, or one punctuation character.
    pub text: String,
    /// Whether it is a string or byte string literal.
    pub is_string: bool,
}

/// A path that begins with `crate` or `super`, resolved.
pub struct PathUse {
    /// Where it stands.
    pub place: Place,
    /// The top-level module that it leads to.
    pub module: String,
}

impl Source {
    /// Every Rust file under a folder of the repository.
    pub fn all_under(folder: &str) -> Vec<Self> {
        files_under(&repository().join(folder))
            .into_iter()
            .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
            .map(|path| Self::read(&path))
            .collect()
    }

    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let file = path.strip_prefix(repository()).unwrap_or(path).to_owned();
        Self::parse(file, text)
    }

    /// Reads a text as if it stood in `file`.
    pub fn parse(file: PathBuf, text: String) -> Self {
        let tokens =
            TokenStream::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        Self { file, text, tokens }
    }

    /// The module that the file is, e.g. `["store", "pool"]`; empty for the roots.
    pub fn module_path(&self) -> Vec<String> {
        let inside = self.file.strip_prefix("src").unwrap_or(&self.file).with_extension("");
        let mut path: Vec<String> =
            inside.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
        if path.last().is_some_and(|last| last == "mod")
            || path.len() == 1 && (path[0] == "lib" || path[0] == "main")
        {
            path.pop();
        }
        path
    }

    /// All tokens, groups opened up, documentation left out.
    pub fn tokens(&self) -> Vec<Token> {
        let mut found = Vec::new();
        self.flatten(self.tokens.clone(), &mut found);
        found
    }

    /// Every path that begins with `crate` or `super`, one for each name in a `{…}` list.
    pub fn paths(&self) -> Vec<PathUse> {
        let mut found = Vec::new();
        self.find_paths(self.tokens.clone(), &mut self.module_path(), &mut found);
        found
    }

    fn place(&self, token: &TokenTree) -> Place {
        Place { file: self.file.clone(), line: token.span().start().line }
    }

    fn flatten(&self, tokens: TokenStream, found: &mut Vec<Token>) {
        let mut previous_was_hash = false;
        for token in tokens {
            let place = self.place(&token);
            let keep = |text: String, is_string| found.push(Token { place, text, is_string });
            match &token {
                TokenTree::Group(group) => {
                    let is_documentation = previous_was_hash && first_word(group.stream()) == "doc";
                    if !is_documentation {
                        self.flatten(group.stream(), found);
                    }
                }
                TokenTree::Literal(literal) => {
                    let text = literal.to_string();
                    let is_string = text.ends_with(['"', '#']);
                    keep(text, is_string);
                }
                other => keep(other.to_string(), false),
            }
            // An inner attribute has a `!` between the hash and its brackets.
            previous_was_hash =
                is_punctuation(&token, '#') || (previous_was_hash && is_punctuation(&token, '!'));
        }
    }

    fn find_paths(&self, tokens: TokenStream, module: &mut Vec<String>, found: &mut Vec<PathUse>) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut index = 0;
        while index < tokens.len() {
            if let [TokenTree::Ident(keyword), TokenTree::Ident(name), TokenTree::Group(body), ..] =
                &tokens[index..]
                && keyword == "mod"
                && body.delimiter() == Delimiter::Brace
            {
                module.push(name.to_string());
                self.find_paths(body.stream(), module, found);
                module.pop();
                index += 3;
                continue;
            }
            let starts_path =
                |word: &str| tokens[index].to_string() == word && is_separator(&tokens[index + 1..]);
            if starts_path("crate") {
                self.resolve(Vec::new(), &tokens[index + 3..], found);
                index += 2;
            } else if starts_path("super") {
                let (supers, rest) = leading_supers(&tokens[index..]);
                let kept = module.len().saturating_sub(supers);
                self.resolve(module[..kept].to_vec(), rest, found);
                index = tokens.len() - rest.len();
                continue;
            }
            if let TokenTree::Group(group) = &tokens[index] {
                self.find_paths(group.stream(), module, found);
            }
            index += 1;
        }
    }

    /// Notes where a path leads that continues at `rest` from the module `base`.
    fn resolve(&self, base: Vec<String>, rest: &[TokenTree], found: &mut Vec<PathUse>) {
        let Some(first) = rest.first() else { return };
        if let Some(module) = base.first() {
            found.push(PathUse { place: self.place(first), module: module.clone() });
            return;
        }
        match first {
            TokenTree::Group(list) => {
                let names: Vec<TokenTree> = list.stream().into_iter().collect();
                for name in names.split(|token| is_punctuation(token, ',')) {
                    self.resolve(Vec::new(), name, found);
                }
            }
            name => found.push(PathUse { place: self.place(name), module: name.to_string() }),
        }
    }
}

/// The folder of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file under a folder, sorted, without what builds and runs leave behind.
pub fn files_under(folder: &Path) -> Vec<PathBuf> {
    const LEFT_BEHIND: &[&str] =
        &["target", ".git", ".counterfoil", "node_modules", "mutants.out", "__pycache__"];
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let entry = entry.expect("a readable folder");
            let is_left_behind = LEFT_BEHIND.iter().any(|name| entry.file_name().to_str() == Some(name));
            match entry.file_type().expect("a file type") {
                kind if kind.is_dir() && !is_left_behind => folders.push(entry.path()),
                kind if kind.is_file() && !is_left_behind => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

fn first_word(tokens: TokenStream) -> String {
    tokens.into_iter().next().map(|token| token.to_string()).unwrap_or_default()
}

fn is_punctuation(token: &TokenTree, character: char) -> bool {
    matches!(token, TokenTree::Punct(punctuation) if punctuation.as_char() == character)
}

fn is_separator(tokens: &[TokenTree]) -> bool {
    matches!(tokens, [first, second, _, ..] if is_punctuation(first, ':') && is_punctuation(second, ':'))
}

/// How many `super::` a path begins with, and what follows them.
fn leading_supers(mut tokens: &[TokenTree]) -> (usize, &[TokenTree]) {
    let mut supers = 0;
    while tokens.first().is_some_and(|token| token.to_string() == "super") && is_separator(&tokens[1..]) {
        supers += 1;
        tokens = &tokens[3..];
    }
    (supers, tokens)
}
