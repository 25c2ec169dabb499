//! Who has which page of the key-value cache, and which pages hold a known beginning of a text.
//!
//! A page whose tokens are all computed is remembered under its tokens and those before it. A
//! later sequence that begins alike takes the page instead of computing it again, as long as
//! nobody has needed the memory meanwhile: pages that nobody uses stay filled, and the one that
//! was left alone for longest is emptied first.

use sprat_nn::PAGE;
use std::collections::{BTreeMap, HashMap};

/// What stands before a page: its predecessor's content, or the beginning under some weights.
/// Numbers are never used twice, so a page that was emptied has no successors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Content(u64);

#[derive(PartialEq, Eq, Hash)]
struct Key {
    before: Content,
    tokens: [u32; PAGE],
}

/// What a remembered page holds.
struct Filled {
    before: Content,
    tokens: [u32; PAGE],
    content: Content,
}

#[derive(Default)]
struct Page {
    users: u32,
    /// What it holds, once it is full and remembered.
    filled: Option<Filled>,
    /// When it was last let go; where it stands in `idle`.
    left: u64,
}

/// The pages of one cache.
pub(crate) struct Pages {
    pages: Vec<Page>,
    free: Vec<u32>,
    known: HashMap<Key, u32>,
    /// Filled pages that nobody uses, by the time they were let go.
    idle: BTreeMap<u64, u32>,
    clock: u64,
    contents: u64,
    /// Pages promised to sequences and not yet taken.
    promised: usize,
}

impl Pages {
    pub(crate) fn new(count: usize) -> Self {
        Pages {
            pages: (0..count).map(|_| Page::default()).collect(),
            free: (0..count as u32).rev().collect(),
            known: HashMap::new(),
            idle: BTreeMap::new(),
            clock: 0,
            contents: 0,
            promised: 0,
        }
    }

    /// The beginning of all texts under some weights. Two beginnings share nothing.
    pub(crate) fn beginning(&mut self) -> Content {
        self.contents += 1;
        Content(self.contents)
    }

    /// All pages there are.
    pub(crate) fn count(&self) -> usize {
        self.pages.len()
    }

    /// Pages that could be had now and are promised to nobody.
    pub(crate) fn available(&self) -> usize {
        (self.free.len() + self.idle.len()).saturating_sub(self.promised)
    }

    /// Promises `count` pages to a sequence: it can [`Self::take`] them later without fail.
    pub(crate) fn promise(&mut self, count: usize) -> bool {
        let possible = count <= self.available();
        if possible {
            self.promised += count;
        }
        possible
    }

    /// Gives a promise back that was not used.
    pub(crate) fn release_promise(&mut self, count: usize) {
        self.promised = self.promised.saturating_sub(count);
    }

    /// The remembered pages with which `tokens` begin, now in use by one more. Each uses up one
    /// of the pages that were promised to the caller.
    pub(crate) fn share(&mut self, beginning: Content, tokens: &[u32]) -> (Vec<u32>, Content) {
        let (mut found, mut before) = (Vec::new(), beginning);
        for tokens in tokens.chunks_exact(PAGE) {
            let Ok(tokens) = <[u32; PAGE]>::try_from(tokens) else { break };
            let Some(&page) = self.known.get(&Key { before, tokens }) else { break };
            let own = &mut self.pages[page as usize];
            if own.users == 0 {
                self.idle.remove(&own.left);
            }
            own.users += 1;
            self.promised = self.promised.saturating_sub(1);
            found.push(page);
            let Some(filled) = &own.filled else { break };
            before = filled.content;
        }
        (found, before)
    }

    /// A promised page, empty; the oldest idle one is emptied where none is free.
    pub(crate) fn take(&mut self) -> Option<u32> {
        let page = match self.free.pop() {
            Some(page) => page,
            None => {
                let (_, page) = self.idle.pop_first()?;
                self.forget(page);
                page
            }
        };
        self.promised = self.promised.saturating_sub(1);
        self.pages[page as usize].users = 1;
        Some(page)
    }

    /// Takes pages back that were needed for a moment, and promises as many again.
    pub(crate) fn lend_again(&mut self, pages: &[u32]) {
        self.leave(pages);
        self.promised += pages.len();
    }

    /// Remembers what a page in use holds. Gives the content to remember the next page under,
    /// which is another page's where one holds the same already.
    pub(crate) fn remember(&mut self, page: u32, before: Content, tokens: [u32; PAGE]) -> Content {
        let key = Key { before, tokens };
        if let Some(&same) = self.known.get(&key)
            && let Some(filled) = &self.pages[same as usize].filled
        {
            return filled.content;
        }
        let content = self.beginning();
        self.known.insert(key, page);
        self.pages[page as usize].filled = Some(Filled { before, tokens, content });
        content
    }

    /// One user less for each of a sequence's pages.
    pub(crate) fn leave(&mut self, pages: &[u32]) {
        // The last page first: what stands at the end of a text is the first to be forgotten.
        for &page in pages.iter().rev() {
            let own = &mut self.pages[page as usize];
            own.users = own.users.saturating_sub(1);
            if own.users > 0 {
                continue;
            }
            if own.filled.is_some() {
                self.clock += 1;
                own.left = self.clock;
                self.idle.insert(self.clock, page);
            } else {
                self.free.push(page);
            }
        }
    }

    fn forget(&mut self, page: u32) {
        if let Some(Filled { before, tokens, .. }) = self.pages[page as usize].filled.take() {
            self.known.remove(&Key { before, tokens });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(n: u32, pages: usize) -> Vec<u32> {
        (0..(pages * PAGE) as u32).map(|i| n * 1000 + i).collect()
    }

    /// Lays a text of whole pages into the cache, as a sequence does.
    fn read(pages: &mut Pages, beginning: Content, text: &[u32]) -> (Vec<u32>, usize) {
        assert!(pages.promise(text.len() / PAGE));
        let (mut own, mut before) = pages.share(beginning, text);
        let shared = own.len();
        for chunk in text.chunks_exact(PAGE).skip(shared) {
            let page = pages.take().unwrap();
            before = pages.remember(page, before, chunk.try_into().unwrap());
            own.push(page);
        }
        (own, shared)
    }

    #[test]
    fn a_text_that_begins_alike_takes_the_pages_of_the_earlier_one() {
        let mut pages = Pages::new(8);
        let base = pages.beginning();
        let (first, _) = read(&mut pages, base, &tokens(1, 3));
        let other = [tokens(1, 2), tokens(2, 1)].concat();
        let (second, shared) = read(&mut pages, base, &other);
        assert_eq!((shared, &second[..2]), (2, &first[..2]));
        // Other weights share nothing.
        let adapter = pages.beginning();
        assert_eq!(read(&mut pages, adapter, &tokens(1, 3)).1, 0);
        assert_eq!(pages.available(), 1);
    }

    #[test]
    fn idle_pages_are_kept_until_the_memory_is_needed() {
        let mut pages = Pages::new(4);
        let base = pages.beginning();
        let (first, _) = read(&mut pages, base, &tokens(1, 2));
        pages.leave(&first);
        assert_eq!(pages.available(), 4);
        let (again, shared) = read(&mut pages, base, &tokens(1, 2));
        assert_eq!((&again, shared), (&first, 2));
        pages.leave(&again);
        // Three pages are needed: two free ones, and the end of the idle text.
        let (second, _) = read(&mut pages, base, &tokens(2, 3));
        pages.leave(&second);
        let (third, shared) = read(&mut pages, base, &tokens(1, 2));
        assert_eq!(shared, 1);
        pages.leave(&third);
        let (fourth, _) = read(&mut pages, base, &tokens(3, 4));
        pages.leave(&fourth);
        assert_eq!(read(&mut pages, base, &tokens(2, 3)).1, 0);
    }

    #[test]
    fn what_is_promised_can_be_taken() {
        let mut pages = Pages::new(3);
        assert!(pages.promise(2));
        assert!(!pages.promise(2));
        assert!(pages.promise(1));
        let own: Vec<u32> = (0..3).map(|_| pages.take().unwrap()).collect();
        assert!(pages.take().is_none());
        pages.lend_again(&own[1..]);
        assert_eq!(pages.available(), 0);
        pages.release_promise(2);
        assert_eq!(pages.available(), 2);
    }
}
