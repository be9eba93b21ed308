//! What an auditor needs, and what is offered to him: a Merkle tree over the events of a ledger, and its signed heads.
//!
//! The tree is that of RFC 6962: leaf `position − 1` is the event's canonical bytes. It is published by the formats of
//! C2SP, so that tools which are not ours read it: signed notes, checkpoints, tiles and proofs.
//!
//! | file | holds |
//! | --- | --- |
//! | `merkle` | hashes, and a tree that grows at its end |
//! | `tile` | tiles, their paths, entry bundles |
//! | `proof` | proofs of inclusion and of consistency: made from tiles, and verified |
//! | `note` | Ed25519 keys and signed notes |
//! | `checkpoint` | signed tree heads |
//! | `tlog_proof` | a proof of inclusion with its checkpoint, as one text |
//! | `record`, `replay` | events as an auditor reads them, and what follows from them |
//! | `revenue` | what became of the money, recounted |
//! | `memory` | what an auditor keeps from one time to the next |
//! | `verification` | all of it together, over a whole history |
//!
//! Invariants:
//! - nothing here knows a database, a clock or a network: the sealer writes what is made here, the auditor verifies it;
//! - whatever is read here comes from somebody who is not trusted: it is an error, never a panic, whatever it holds.

pub mod checkpoint;
pub mod memory;
pub mod merkle;
pub mod note;
pub mod proof;
pub mod record;
pub mod replay;
pub mod revenue;
pub mod tile;
pub mod tlog_proof;
pub mod verification;
