//! Counts prefix-cache hits for the scripted engine, without a KV cache.

use std::collections::{HashSet, VecDeque};

use super::tokenizer::BlockHashes;

/// Tokens per block, vLLM's default on a GPU. Only whole blocks are found.
const BLOCK: usize = 16;
/// The number of blocks if the script states no size.
const DEFAULT_BLOCKS: usize = 1 << 20;

/// The hashes of the blocks of earlier prompts.
#[derive(Debug)]
pub(super) struct PrefixCache {
    known: HashSet<u64>,
    /// In the order of arrival; the oldest is evicted first.
    order: VecDeque<u64>,
    most: usize,
    pub(super) queries: u64,
    pub(super) hits: u64,
}

impl PrefixCache {
    /// A cache for `kv_tokens` tokens.
    pub(super) fn new(kv_tokens: Option<u64>) -> Self {
        let most = kv_tokens.map_or(DEFAULT_BLOCKS, |tokens| tokens as usize / BLOCK);
        Self { known: HashSet::new(), order: VecDeque::new(), most: most.max(1), queries: 0, hits: 0 }
    }

    /// Looks a prompt up and adds it. As in vLLM, the last token is never a hit: it must be computed for the
    /// answer's first token.
    pub(super) fn query(&mut self, prompt: &[u64]) {
        self.queries += prompt.len() as u64;
        let mut hashes = BlockHashes::new(BLOCK as u64);
        prompt.iter().for_each(|token| hashes.push(*token));
        let mut found = true;
        for (number, block) in hashes.blocks().iter().copied().enumerate() {
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
    fn whole_blocks_are_hits_up_to_the_first_new_one() {
        let mut cache = PrefixCache::new(None);
        cache.query(&prompt(0, 40));
        assert_eq!((cache.queries, cache.hits), (40, 0));
        cache.query(&prompt(0, 40));
        assert_eq!((cache.queries, cache.hits), (80, 32));
        let mut other = prompt(0, 16);
        other.extend(prompt(1000, 16));
        cache.query(&other);
        assert_eq!(cache.hits, 48);
        // The same tokens after another prefix are another block.
        cache.query(&prompt(16, 24));
        assert_eq!(cache.hits, 48);
    }

    #[test]
    fn the_last_token_is_never_a_hit_and_the_oldest_block_is_evicted() {
        let mut cache = PrefixCache::new(Some(16));
        cache.query(&prompt(0, 16));
        cache.query(&prompt(0, 16));
        assert_eq!(cache.hits, 0);
        cache.query(&prompt(0, 17));
        assert_eq!(cache.hits, 16);
        cache.query(&prompt(500, 17));
        cache.query(&prompt(0, 17));
        assert_eq!(cache.hits, 16, "the only block was evicted");
    }
}
