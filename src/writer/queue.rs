//! Commands that wait for an outcome.

use tokio::sync::oneshot;

use super::interface::{Outcome, Submission, SubmitError};

/// What a caller gets.
pub(super) type Answer = Result<Outcome, SubmitError>;

/// A command whose caller waits.
pub(super) struct Pending {
    pub(super) submission: Submission,
    /// How often deciding it has come to nothing, through no fault of its own.
    pub(super) attempts: u8,
    reply: oneshot::Sender<Answer>,
}

impl Pending {
    /// The command, and where its answer will arrive.
    pub(super) fn new(submission: Submission) -> (Self, oneshot::Receiver<Answer>) {
        let (reply, answer) = oneshot::channel();
        (Self { submission, attempts: 0, reply }, answer)
    }

    /// Whether nobody waits any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    /// Answers. A caller who has gone in the meantime misses nothing that the same key would not tell.
    pub(super) fn answer(self, answer: Answer) {
        drop(self.reply.send(answer));
    }
}

/// Gives all of them the same bad news.
pub(super) fn answer_all(commands: impl IntoIterator<Item = Pending>, error: SubmitError) {
    for command in commands {
        command.answer(Err(error));
    }
}
