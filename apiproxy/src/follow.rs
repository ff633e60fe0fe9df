//! Follows the list of hosts of one hbs: what is asked next, and what an answer means. Pure.

use thiserror::Error;
use wire::host_feed::{FORMAT, FeedPage, FeedQuestion};

/// Most hosts that one hbs is believed to have.
const HOSTS_MAX: usize = 1_000_000;

/// What is known of the list so far.
#[derive(Debug, Default)]
pub(crate) struct Follower {
    epoch: String,
    revision: u64,
    listing: Option<Listing>,
}

/// A list whose pages are still coming.
#[derive(Debug, Default)]
struct Listing {
    hosts: Vec<String>,
    after: String,
}

/// What a page says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// Ask again: the list is not complete yet.
    More,
    /// All hosts there are.
    All(Vec<String>),
    /// Hosts that came or came back, and hosts that went.
    Changed {
        /// Came or came back.
        there: Vec<String>,
        /// Went.
        gone: Vec<String>,
        /// Whether there are more changes.
        is_more: bool,
    },
}

/// What a hbs must not answer.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum FeedFault {
    #[error(
        "its list of hosts has format {found}, and {FORMAT} is known here: bring apiproxy up to date"
    )]
    Format { found: u32 },
    #[error("its list of hosts goes backwards")]
    Backwards,
    #[error("it has more than {HOSTS_MAX} hosts")]
    TooMany,
}

impl Follower {
    /// What to ask now.
    pub(crate) fn question(&self) -> FeedQuestion {
        FeedQuestion {
            epoch: self.epoch.clone(),
            revision: self.revision,
            after: self.listing.as_ref().map(|listing| listing.after.clone()).unwrap_or_default(),
            limit: None,
        }
    }

    /// Takes an answer to [`Follower::question`]. After a fault all is read again.
    pub(crate) fn take(&mut self, page: FeedPage) -> Result<News, FeedFault> {
        let taken = self.try_take(page);
        if taken.is_err() {
            *self = Self::default();
        }
        taken
    }

    fn try_take(&mut self, page: FeedPage) -> Result<News, FeedFault> {
        if page.format != FORMAT {
            return Err(FeedFault::Format { found: page.format });
        }
        if page.whole {
            return self.take_list(page);
        }
        if page.epoch != self.epoch || page.revision < self.revision || self.listing.is_some() {
            return Err(FeedFault::Backwards);
        }
        // More to come without anything coming would be asked for without end.
        let is_more = page.more && page.revision > self.revision;
        self.revision = page.revision;
        let there = page.hosts.into_iter().map(|host| host.name).collect();
        Ok(News::Changed { there, gone: page.gone, is_more })
    }

    fn take_list(&mut self, page: FeedPage) -> Result<News, FeedFault> {
        let mut listing = match self.listing.take() {
            Some(listing) if page.epoch == self.epoch => listing,
            // What changes between the pages is told as changes since the first one.
            _ => {
                (self.epoch, self.revision) = (page.epoch, page.revision);
                Listing::default()
            }
        };
        if listing.hosts.len() + page.hosts.len() > HOSTS_MAX {
            return Err(FeedFault::TooMany);
        }
        listing.hosts.extend(page.hosts.into_iter().map(|host| host.name));
        match page.next_after {
            None => Ok(News::All(listing.hosts)),
            Some(next) if next <= listing.after => Err(FeedFault::Backwards),
            Some(next) => {
                listing.after = next;
                self.listing = Some(listing);
                Ok(News::More)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wire::host_feed::FeedHost;

    use super::*;

    fn hosts(names: &[&str]) -> Vec<FeedHost> {
        names.iter().map(|name| FeedHost { name: (*name).into(), ..FeedHost::default() }).collect()
    }

    fn whole(epoch: &str, revision: u64, names: &[&str], next: Option<&str>) -> FeedPage {
        let (epoch, next_after) = (epoch.to_owned(), next.map(str::to_owned));
        let hosts = hosts(names);
        FeedPage {
            format: FORMAT,
            epoch,
            revision,
            whole: true,
            hosts,
            next_after,
            ..FeedPage::default()
        }
    }

    fn changes(epoch: &str, revision: u64, names: &[&str], more: bool) -> FeedPage {
        let page = whole(epoch, revision, names, None);
        FeedPage { whole: false, gone: vec!["old".into()], more, ..page }
    }

    fn all(names: &[&str]) -> Result<News, FeedFault> {
        Ok(News::All(names.iter().map(|name| (*name).into()).collect()))
    }

    #[test]
    fn pages_become_a_list_and_changes_are_asked_for_from_the_first_page_on() {
        let mut follower = Follower::default();
        assert_eq!(follower.question(), FeedQuestion::default());
        assert_eq!(follower.take(whole("e", 5, &["a", "b"], Some("b"))), Ok(News::More));
        assert_eq!((follower.question().after.as_str(), follower.question().revision), ("b", 5));
        assert_eq!(follower.take(whole("e", 9, &["c"], None)), all(&["a", "b", "c"]));
        let question = follower.question();
        assert_eq!(
            (question.epoch.as_str(), question.revision, question.after.as_str()),
            ("e", 5, "")
        );
        let news = follower.take(changes("e", 7, &["d"], true));
        let (there, gone) = (vec!["d".to_owned()], vec!["old".to_owned()]);
        assert_eq!(news, Ok(News::Changed { there, gone, is_more: true }));
        assert_eq!(follower.question().revision, 7);
    }

    #[test]
    fn a_hbs_that_was_started_again_is_read_from_the_beginning_also_amid_the_pages() {
        let mut follower = Follower::default();
        assert_eq!(follower.take(whole("e", 5, &["a"], Some("a"))), Ok(News::More));
        assert_eq!(follower.take(whole("f", 0, &["x"], Some("x"))), Ok(News::More));
        assert_eq!(follower.take(whole("f", 0, &["y"], None)), all(&["x", "y"]));
        assert_eq!(follower.take(whole("g", 1, &["z"], None)), all(&["z"]));
    }

    #[test]
    fn a_hbs_that_lies_is_not_asked_without_end() {
        let mut follower = Follower::default();
        assert_eq!(follower.take(whole("e", 5, &["b"], Some("b"))), Ok(News::More));
        assert_eq!(follower.take(whole("e", 5, &["b"], Some("b"))), Err(FeedFault::Backwards));
        assert_eq!(follower.question(), FeedQuestion::default(), "all is read again");
        assert_eq!(follower.take(changes("e", 5, &[], false)), Err(FeedFault::Backwards));
        assert_eq!(follower.take(whole("e", 5, &["b"], None)), all(&["b"]));
        let stuck = follower.take(changes("e", 5, &[], true));
        assert!(matches!(stuck, Ok(News::Changed { is_more: false, .. })), "{stuck:?}");
        assert_eq!(follower.take(changes("e", 4, &[], false)), Err(FeedFault::Backwards));
        let newer = FeedPage { format: 2, ..whole("e", 1, &[], None) };
        assert_eq!(follower.take(newer), Err(FeedFault::Format { found: 2 }));
    }

    proptest! {
        #[test]
        fn no_answers_make_it_go_on_for_ever(
            pages in proptest::collection::vec(
                (any::<bool>(), "[ef]", 0_u64..5, "[ab]{0,2}", any::<bool>()), 1..20),
        ) {
            let mut follower = Follower::default();
            for (is_whole, epoch, revision, name, more) in pages {
                let before = follower.question();
                let page = match is_whole {
                    true => whole(&epoch, revision, &[&name], more.then_some(name.as_str())),
                    false => changes(&epoch, revision, &[&name], more),
                };
                let goes_on = match follower.take(page) {
                    Ok(News::More) => true,
                    Ok(News::Changed { is_more, .. }) => is_more,
                    Ok(News::All(_)) | Err(_) => false,
                };
                if goes_on {
                    prop_assert_ne!(follower.question(), before, "the next question is another one");
                }
            }
        }
    }
}
