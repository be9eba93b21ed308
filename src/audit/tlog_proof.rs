//! A proof of inclusion that needs nothing else but the log's key: [C2SP tlog-proof](https://c2sp.org/tlog-proof).

use super::{
    checkpoint::{Checkpoint, CheckpointError},
    merkle::Hash,
    note::VerifierKey,
    proof::{ProofError, verify_inclusion},
};

const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// Longer than the way to any leaf of a tree of 2^64.
const LONGEST_PATH: usize = 64;

/// A proof of inclusion and the signed checkpoint of the tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlogProof {
    /// Which leaf.
    pub index: u64,
    /// The way from the leaf to the root.
    pub path: Vec<Hash>,
    /// The signed note.
    pub checkpoint: String,
}

/// Why a proof is not accepted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TlogProofError {
    /// The checkpoint in it.
    #[error("its checkpoint is not accepted: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The proof itself.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

impl TlogProof {
    /// The proof as a text.
    pub fn text(&self) -> String {
        let path: String = self.path.iter().map(|hash| format!("{hash}\n")).collect();
        format!("{HEADER}\nindex {}\n{path}\n{}", self.index, self.checkpoint)
    }

    /// Reads a text; extra data in it is passed over.
    pub fn parse(text: &str) -> Option<Self> {
        let (proof, checkpoint) = text.split_once("\n\n")?;
        let mut lines = proof.split('\n').peekable();
        if lines.next()? != HEADER {
            return None;
        }
        lines.next_if(|line| line.starts_with("extra "));
        let index = lines.next()?.strip_prefix("index ")?;
        let number: u64 = index.parse().ok().filter(|number: &u64| number.to_string() == index)?;
        let path: Vec<Hash> = lines.map(Hash::parse).collect::<Option<_>>()?;
        (path.len() <= LONGEST_PATH).then(|| Self { index: number, path, checkpoint: checkpoint.to_owned() })
    }

    /// Verifies that the leaf is where the proof says, in a tree whose head one of `keys` has signed.
    ///
    /// # Errors
    /// [`TlogProofError`].
    pub fn verify(&self, leaf: Hash, keys: &[VerifierKey]) -> Result<Checkpoint, TlogProofError> {
        let checkpoint = Checkpoint::open(&self.checkpoint, keys)?;
        verify_inclusion(self.index, leaf, checkpoint.head(), &self.path)?;
        Ok(checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{
        merkle::tests::{grown, leaves},
        note::tests::signer,
        proof::Tiles,
    };

    #[test]
    fn a_proof_reads_back_and_proves_its_leaf_alone() {
        let leaves = leaves(300);
        let mut tree = grown(&leaves);
        let signer = signer("example.com/log", 1);
        let keys = [signer.verifier_key().clone()];
        let origin = "example.com/log".to_owned();
        let checkpoint = Checkpoint { origin, size: 300, root: tree.root(), succeeds: None };
        let mut tiles = Tiles::default();
        tree.edge().into_iter().chain(tree.take_full()).for_each(|tile| tiles.insert(tile.id, tile.nodes));
        let path = tiles.inclusion(270, 300).expect("tiles");
        let proof = TlogProof { index: 270, path, checkpoint: checkpoint.sign(&[signer]) };
        let text = proof.text();
        assert_eq!(TlogProof::parse(&text).as_ref(), Some(&proof));
        let with_extra = text.replacen("index", "extra AAAA\nindex", 1);
        assert_eq!(TlogProof::parse(&with_extra).as_ref(), Some(&proof));
        assert_eq!(proof.verify(leaves[270], &keys), Ok(checkpoint));
        assert_eq!(proof.verify(leaves[271], &keys), Err(ProofError::OtherRoot.into()));
        for text in
            ["", HEADER, &text[1..], &text.replace("index 270", "index 0270"), &text.replace("\n\n", "\n")]
        {
            assert_eq!(TlogProof::parse(text), None, "{text}");
        }
    }
}
