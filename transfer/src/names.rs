//! Which Open-Falcon metric owns a canonical name. `cpu.idle` and `cpu-idle` both become
//! `cpu_idle`: the first one keeps it, since mixing two metrics in one would make every answer
//! wrong.

use std::collections::HashMap;

use model::Metadata;
use wire::falcon_json::original_name;

use crate::reason::Reason;

/// The owners of canonical names, bounded.
#[derive(Debug)]
pub(crate) struct OriginalNames {
    owners: HashMap<String, Owner>,
    names_max: usize,
}

#[derive(Debug)]
struct Owner {
    original: String,
    /// Whether the store has the metadata, from which the owner is known again after a restart.
    stored: bool,
}

impl OriginalNames {
    /// The owners that stored metadata tells of.
    pub(crate) fn restore(metadata: &[(String, Metadata)], names_max: usize) -> Self {
        let owner = |(canonical, about): &(String, Metadata)| {
            let original = original_name(&about.help)?.to_owned();
            Some((canonical.to_owned(), Owner { original, stored: true }))
        };
        Self { owners: metadata.iter().filter_map(owner).collect(), names_max }
    }

    /// Claims a canonical name for an original. Says whether its metadata has still to be stored.
    pub(crate) fn claim(&mut self, canonical: &str, original: &str) -> Result<bool, Reason> {
        if let Some(owner) = self.owners.get(canonical) {
            return if owner.original == original {
                Ok(!owner.stored)
            } else {
                Err(Reason::NameCollision)
            };
        }
        if self.owners.len() >= self.names_max {
            return Err(Reason::FalconNamesLimit);
        }
        let owner = Owner { original: original.to_owned(), stored: false };
        self.owners.insert(canonical.to_owned(), owner);
        Ok(true)
    }

    /// Notes that the store has the metadata that names the owner.
    pub(crate) fn stored(&mut self, canonical: &str, original: &str) {
        if let Some(owner) = self.owners.get_mut(canonical)
            && owner.original == original
        {
            owner.stored = true;
        }
    }

    /// The original that owns a canonical name.
    pub(crate) fn original(&self, canonical: &str) -> Option<&str> {
        self.owners.get(canonical).map(|owner| owner.original.as_str())
    }

    /// How many names have an owner.
    pub(crate) fn len(&self) -> usize {
        self.owners.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_original_keeps_the_name() {
        let mut names = OriginalNames::restore(&[], 10);
        assert_eq!(names.claim("cpu_idle", "cpu.idle"), Ok(true));
        assert_eq!(names.claim("cpu_idle", "cpu-idle"), Err(Reason::NameCollision));
        assert_eq!(names.claim("cpu_idle", "cpu.idle"), Ok(true), "the store does not have it yet");
        names.stored("cpu_idle", "cpu.idle");
        assert_eq!(names.claim("cpu_idle", "cpu.idle"), Ok(false));
    }

    #[test]
    fn owners_are_known_again_from_stored_metadata() {
        let about = |help: &str| Metadata { help: help.into(), ..Metadata::default() };
        let stored = [
            ("cpu_idle".to_owned(), about("Open-Falcon metric cpu.idle, GAUGE, step 60 s.")),
            ("up".to_owned(), about("Whether it is up.")),
        ];
        let mut names = OriginalNames::restore(&stored, 10);
        assert_eq!(names.claim("cpu_idle", "cpu-idle"), Err(Reason::NameCollision));
        assert_eq!(names.claim("cpu_idle", "cpu.idle"), Ok(false));
        assert_eq!(names.claim("up", "up"), Ok(true), "a native metric has no Open-Falcon owner");
    }

    #[test]
    fn names_are_bounded() {
        let mut names = OriginalNames::restore(&[], 1);
        assert_eq!(names.claim("a", "a"), Ok(true));
        assert_eq!(names.claim("b", "b"), Err(Reason::FalconNamesLimit));
        assert_eq!(names.len(), 1);
    }
}
