//! Which prefixes were seen before: what a prefix cache would hold, without the cache.

use std::collections::{HashSet, VecDeque};

use super::tokens::Chain;

/// Tokens of a block, as vLLM has them on a GPU: only whole blocks are found again.
const BLOCK: usize = 16;
/// Blocks that are kept where the script gives the cache no size.
const MANY: usize = 1 << 20;

/// The blocks of earlier prompts, each known by itself and all that stands before it.
#[derive(Debug)]
pub(super) struct PrefixCache {
    known: HashSet<u64>,
    /// In the order they came: the oldest makes room.
    order: VecDeque<u64>,
    most: usize,
    pub(super) queries: u64,
    pub(super) hits: u64,
}

impl PrefixCache {
    /// A cache for so many tokens.
    pub(super) fn new(kv_tokens: Option<u64>) -> Self {
        let most = kv_tokens.map_or(MANY, |tokens| tokens as usize / BLOCK);
        Self { known: HashSet::new(), order: VecDeque::new(), most: most.max(1), queries: 0, hits: 0 }
    }

    /// Looks for a prompt and keeps it. As in vLLM the last token is never found: it has to be computed for the first
    /// token of the answer.
    pub(super) fn ask(&mut self, prompt: &[u64]) {
        self.queries += prompt.len() as u64;
        let mut chain = Chain::new(BLOCK as u64);
        prompt.iter().for_each(|token| chain.push(*token));
        let mut found = true;
        for (number, block) in chain.blocks().iter().copied().enumerate() {
            if self.known.contains(&block) {
                if found && (number + 1) * BLOCK < prompt.len() {
                    self.hits += BLOCK as u64;
                }
                continue;
            }
            found = false;
            if self.order.len() == self.most
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
            self.known.insert(block);
            self.order.push_back(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(from: u64, tokens: u64) -> Vec<u64> {
        (from..from + tokens).collect()
    }

    #[test]
    fn whole_blocks_are_found_again_up_to_the_first_new_one() {
        let mut cache = PrefixCache::new(None);
        cache.ask(&prompt(0, 40));
        assert_eq!((cache.queries, cache.hits), (40, 0));
        cache.ask(&prompt(0, 40));
        assert_eq!((cache.queries, cache.hits), (80, 32));
        let mut other = prompt(0, 16);
        other.extend(prompt(1000, 16));
        cache.ask(&other);
        assert_eq!(cache.hits, 48);
        // The same block elsewhere is another block.
        cache.ask(&prompt(16, 24));
        assert_eq!(cache.hits, 48);
    }

    #[test]
    fn the_last_token_is_never_found_and_the_oldest_makes_room() {
        let mut cache = PrefixCache::new(Some(16));
        cache.ask(&prompt(0, 16));
        cache.ask(&prompt(0, 16));
        assert_eq!(cache.hits, 0);
        cache.ask(&prompt(0, 17));
        assert_eq!(cache.hits, 16);
        cache.ask(&prompt(500, 17));
        cache.ask(&prompt(0, 17));
        assert_eq!(cache.hits, 16, "one block fits, and another one came");
    }
}
