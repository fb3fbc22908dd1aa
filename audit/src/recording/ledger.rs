//! What the evidence says of recordings.

use std::collections::BTreeMap;
use std::path::Path;

use tidegate_core::event::{Event, Kind, RecordingAct, RecordingNote};

use super::RecordingId;
use crate::query::{Indexes, Query, Search, SearchError};
use crate::tail::Item;

/// A note, and the entry that it stands in.
#[derive(Debug, Clone, PartialEq)]
pub struct Noted {
    /// The entry's sequence number in its shard.
    pub sequence: u64,
    /// When.
    pub time_micros: i64,
    /// The note.
    pub note: RecordingNote,
    /// The entry's own words.
    pub detail: String,
}

/// All that the evidence says of one recording.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Account {
    /// Who was recorded.
    pub principal: String,
    /// The client's address.
    pub client_address: String,
    /// The notes of the writer, in the order of the evidence.
    pub notes: Vec<Noted>,
    /// Who watched it and when.
    pub watched: Vec<(i64, String)>,
}

impl Account {
    /// The last note of one of these acts.
    #[must_use]
    pub fn last(&self, acts: &[RecordingAct]) -> Option<&Noted> {
        self.notes.iter().rev().find(|noted| acts.iter().any(|act| *act as i32 == noted.note.act))
    }

    /// Whether the evidence says how it ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.last(&[RecordingAct::Ended, RecordingAct::Cut]).is_some()
    }

    /// Whether an end frame was noted.
    #[must_use]
    pub fn has_end_frame(&self) -> bool {
        let end = self.last(&[RecordingAct::Ended, RecordingAct::Cut]);
        end.is_some_and(|noted| !noted.note.sha256.is_empty())
    }

    /// Whether its file was removed.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.last(&[RecordingAct::Removed]).is_some()
    }
}

/// By shard and recording.
pub type Accounts = BTreeMap<(u32, RecordingId), Account>;

/// What the evidence says of recordings.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Every recording that an entry names.
    pub accounts: Accounts,
    /// Damaged places that were met.
    pub damaged: Vec<String>,
}

impl Ledger {
    /// Reads it from the evidence below `root`; of one session where one is given.
    ///
    /// # Errors
    /// What the search says.
    pub fn read(root: &Path, session: Option<&str>) -> Result<Self, SearchError> {
        let sessions = session.map(str::to_owned).into_iter().collect();
        let query = Query { kinds: vec![Kind::Recording as i32], sessions, ..Query::default() };
        // Indexes are not signed, and a recording that is not found would be missed.
        let mut search = Search::new(root, None, query, Indexes::Ignore)?;
        let mut ledger = Self::default();
        while let Some(item) = search.next()? {
            match item {
                Item::Entry(entry) => ledger.take(entry.shard, entry.sequence, entry.event),
                Item::Damaged(place) => ledger.damaged.push(place.to_string()),
            }
        }
        Ok(ledger)
    }

    fn take(&mut self, shard: u32, sequence: u64, event: Event) {
        let Some(note) = event.recording.as_deref() else { return };
        let id = RecordingId { session: event.session.clone(), part: note.part };
        if note.act == RecordingAct::Watched as i32 {
            // Written by whichever shard was asked: it is of the recording, wherever that is.
            let watched = (event.time_micros, format!("{}: {}", event.principal, event.detail));
            let of = self.accounts.iter_mut().filter(|((_, of), _)| *of == id);
            of.for_each(|(_, account)| account.watched.push(watched.clone()));
            return;
        }
        note_down(&mut self.accounts, shard, sequence, event);
    }
}

/// Enters the note of an entry of kind `recording`, other than of watching.
pub(crate) fn note_down(accounts: &mut Accounts, shard: u32, sequence: u64, event: Event) {
    let Some(note) = event.recording else { return };
    if note.act == RecordingAct::Watched as i32 {
        return;
    }
    let id = RecordingId { session: event.session, part: note.part };
    let account = accounts.entry((shard, id)).or_default();
    if account.principal.is_empty() {
        account.principal = event.principal;
        account.client_address = event.client_address;
    }
    account.notes.push(Noted { sequence, time_micros: event.time_micros, note: *note, detail: event.detail });
}
