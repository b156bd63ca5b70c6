//! The paged KV cache: blocks of equal size, shared by reference count, and found by the hash of their tokens
//! and all before them.
//!
//! It follows vLLM's rules (`vllm/v1/core`: `block_pool.py`, `kv_cache_manager.py`). A full block keeps its
//! hash after its last user has left, at the end of the list of free blocks; the block that was free longest
//! is reused first and loses its hash. A request returns its last block first, so that the ends of prompts
//! are evicted before their beginnings. Several blocks may have the same hash, because a block stays in a
//! request's table. One block is never allocated (vLLM's null block).

use std::collections::HashMap;

const NONE: u32 = u32::MAX;

/// The blocks of one request, in the order of its tokens.
#[derive(Debug, Default)]
pub(super) struct BlockTable {
    pub(super) blocks: Vec<u32>,
    /// How many of them have a registered hash, by which other requests find them.
    pub(super) registered: usize,
}

#[derive(Clone, Copy, Debug)]
struct Block {
    /// The number of requests that hold it.
    refs: u32,
    hash: Option<u64>,
    /// Neighbours in the list of free blocks.
    before: u32,
    after: u32,
}

#[derive(Debug)]
pub(super) struct KvCache {
    pub(super) block_size: u64,
    /// The number of blocks that can be allocated.
    pub(super) usable: u32,
    /// Blocks that were allocated at least once. The others are free and are used first.
    blocks: Vec<Block>,
    /// The ends of the list of free blocks; the first is reused first.
    first: u32,
    last: u32,
    /// The number of free blocks among `blocks`.
    returned: u32,
    /// Blocks by hash, the oldest first; absent without prefix caching.
    by_hash: Option<HashMap<u64, Vec<u32>>>,
}

impl KvCache {
    /// A cache of `blocks` blocks of `block_size` tokens, one of which is never allocated.
    pub(super) fn new(blocks: u32, block_size: u32, prefix_caching: bool) -> Self {
        Self {
            block_size: u64::from(block_size.max(1)),
            usable: blocks.saturating_sub(1),
            blocks: Vec::new(),
            first: NONE,
            last: NONE,
            returned: 0,
            by_hash: prefix_caching.then(HashMap::new),
        }
    }

    pub(super) fn free(&self) -> u32 {
        self.usable - self.blocks.len() as u32 + self.returned
    }

    /// Fraction of the blocks in use, 0 to 1.
    pub(super) fn usage(&self) -> f64 {
        if self.usable == 0 {
            return 0.0;
        }
        f64::from(self.usable - self.free()) / f64::from(self.usable)
    }

    pub(super) fn caches_prefixes(&self) -> bool {
        self.by_hash.is_some()
    }

    /// The number of leading blocks of a sequence that are cached, by the hashes of its full blocks. At least
    /// one of its `tokens` is left to compute, because the next token is sampled from it.
    pub(super) fn find_prefix(&self, hashes: &[u64], tokens: u64) -> usize {
        let Some(known) = &self.by_hash else { return 0 };
        let most = (tokens.saturating_sub(1) / self.block_size) as usize;
        hashes.iter().take(most).take_while(|hash| known.contains_key(hash)).count()
    }

    /// Gives a sequence without blocks its `found` cached ones and new ones for `tokens` tokens, if enough
    /// are free for all of its `whole` tokens. Returns whether there were.
    pub(super) fn admit(
        &mut self,
        table: &mut BlockTable,
        hashes: &[u64],
        found: usize,
        tokens: u64,
        whole: u64,
    ) -> bool {
        let shared: Vec<u32> = match &self.by_hash {
            Some(known) => hashes[..found].iter().map(|hash| known[hash][0]).collect(),
            None => Vec::new(),
        };
        // A cached block that no request holds counts as free.
        let revived = shared.iter().filter(|block| self.blocks[**block as usize].refs == 0).count() as u64;
        let whole = whole.max(tokens).div_ceil(self.block_size);
        if whole - shared.len() as u64 + revived > u64::from(self.free()) {
            return false;
        }
        for block in &shared {
            if self.blocks[*block as usize].refs == 0 {
                self.unlink(*block);
            }
            self.blocks[*block as usize].refs += 1;
        }
        table.registered = shared.len();
        table.blocks = shared;
        self.grow(table, tokens)
    }

    /// Gives a sequence the blocks it lacks for `tokens` tokens, all or none. Returns whether enough were
    /// free.
    pub(super) fn grow(&mut self, table: &mut BlockTable, tokens: u64) -> bool {
        let wanted = tokens.div_ceil(self.block_size) as usize;
        let lacking = wanted.saturating_sub(table.blocks.len());
        if lacking as u64 > u64::from(self.free()) {
            return false;
        }
        for _ in 0..lacking {
            let block = self.take();
            table.blocks.push(block);
        }
        true
    }

    /// Registers the hashes of a sequence's full blocks, so that other requests find them.
    pub(super) fn register(&mut self, table: &mut BlockTable, hashes: &[u64]) {
        let Some(known) = &mut self.by_hash else { return };
        let full = hashes.len().min(table.blocks.len());
        let new = table.blocks.iter().zip(hashes).skip(table.registered);
        for (block, hash) in new {
            self.blocks[*block as usize].hash = Some(*hash);
            known.entry(*hash).or_default().push(*block);
        }
        table.registered = table.registered.max(full);
    }

    pub(super) fn release(&mut self, table: &mut BlockTable) {
        for block in table.blocks.drain(..).rev() {
            let held = &mut self.blocks[block as usize];
            held.refs -= 1;
            if held.refs == 0 {
                held.before = self.last;
                held.after = NONE;
                match self.last {
                    NONE => self.first = block,
                    last => self.blocks[last as usize].after = block,
                }
                self.last = block;
                self.returned += 1;
            }
        }
        table.registered = 0;
    }

    /// Allocates a free block, which loses its hash. The caller has checked that there is one.
    fn take(&mut self) -> u32 {
        if (self.blocks.len() as u32) < self.usable {
            self.blocks.push(Block { refs: 1, hash: None, before: NONE, after: NONE });
            return self.blocks.len() as u32 - 1;
        }
        let block = self.first;
        self.unlink(block);
        let taken = &mut self.blocks[block as usize];
        taken.refs = 1;
        if let (Some(hash), Some(known)) = (taken.hash.take(), &mut self.by_hash)
            && let Some(same) = known.get_mut(&hash)
        {
            same.retain(|other| *other != block);
            if same.is_empty() {
                known.remove(&hash);
            }
        }
        block
    }

    fn unlink(&mut self, block: u32) {
        let Block { before, after, .. } = self.blocks[block as usize];
        match before {
            NONE => self.first = after,
            before => self.blocks[before as usize].after = after,
        }
        match after {
            NONE => self.last = before,
            after => self.blocks[after as usize].before = before,
        }
        self.returned -= 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::tokenizer::BlockHashes;

    /// A reference with the same rules: token lists instead of hashes, and searches instead of indexes.
    struct Naive {
        size: usize,
        /// Per block: the number of holders, the tokens up to its end, and when they were registered.
        blocks: Vec<(u32, Option<Vec<u64>>, usize)>,
        free: Vec<usize>,
        clock: usize,
    }

    impl Naive {
        fn new(blocks: usize, size: usize) -> Self {
            Self { size, blocks: vec![(0, None, 0); blocks - 1], free: (0..blocks - 1).collect(), clock: 0 }
        }

        fn admit(&mut self, prompt: &[u64]) -> Option<(usize, Vec<usize>)> {
            let mut held = Vec::new();
            for end in (self.size..prompt.len()).step_by(self.size) {
                let same = |(_, (_, tokens, _)): &(usize, &(u32, Option<Vec<u64>>, usize))| {
                    tokens.as_deref() == Some(&prompt[..end])
                };
                let all = self.blocks.iter().enumerate().filter(same);
                let Some((oldest, _)) = all.min_by_key(|(_, (_, _, known))| *known) else {
                    break;
                };
                held.push(oldest);
            }
            let found = held.len();
            let revived = held.iter().filter(|b| self.blocks[**b].0 == 0).count();
            let lacking = prompt.len().div_ceil(self.size) - found;
            if lacking + revived > self.free.len() {
                return None;
            }
            for block in &held {
                self.free.retain(|free| free != block);
                self.blocks[*block].0 += 1;
            }
            for number in found..found + lacking {
                let block = self.free.remove(0);
                let end = (number + 1) * self.size;
                let tokens = (end <= prompt.len()).then(|| prompt[..end].to_vec());
                self.blocks[block] = (1, tokens, self.clock);
                self.clock += 1;
                held.push(block);
            }
            Some((found, held))
        }

        fn release(&mut self, held: &[usize]) {
            for block in held.iter().rev() {
                self.blocks[*block].0 -= 1;
                if self.blocks[*block].0 == 0 {
                    self.free.push(*block);
                }
            }
        }
    }

    fn hashes(prompt: &[u64], size: u64) -> Vec<u64> {
        let mut hashes = BlockHashes::new(size);
        prompt.iter().for_each(|token| hashes.push(*token));
        hashes.blocks().to_vec()
    }

    proptest! {
        #[test]
        fn prefixes_are_found_and_evicted_as_in_a_naive_reference(
            size in 1u64..5, blocks in 2u32..24,
            asks in prop::collection::vec((prop::collection::vec(0u64..2, 1..20), any::<prop::sample::Index>(), any::<bool>()), 1..80)
        ) {
            let mut cache = KvCache::new(blocks, size as u32, true);
            let mut naive = Naive::new(blocks as usize, size as usize);
            let mut held: Vec<(BlockTable, Vec<usize>)> = Vec::new();
            for (prompt, who, leaves) in asks {
                let hashes = hashes(&prompt, size);
                let tokens = prompt.len() as u64;
                let found = cache.find_prefix(&hashes, tokens);
                let mut table = BlockTable::default();
                let admitted = cache.admit(&mut table, &hashes, found, tokens, tokens);
                let reference = naive.admit(&prompt);
                prop_assert_eq!(admitted, reference.is_some());
                if let Some((reference_found, reference_held)) = reference {
                    prop_assert_eq!(found, reference_found);
                    cache.register(&mut table, &hashes);
                    held.push((table, reference_held));
                }
                if leaves && !held.is_empty() {
                    let (mut table, reference_held) = held.swap_remove(who.index(held.len()));
                    cache.release(&mut table);
                    naive.release(&reference_held);
                }
                prop_assert_eq!(cache.free() as usize, naive.free.len());
                prop_assert!(cache.free() <= cache.usable);
                let distinct: std::collections::BTreeSet<u32> =
                    held.iter().flat_map(|(table, _)| table.blocks.iter().copied()).collect();
                prop_assert_eq!(distinct.len() as u32, cache.usable - cache.free());
            }
        }
    }

    #[test]
    fn without_prefix_caching_nothing_is_found_and_one_block_is_never_allocated() {
        let mut cache = KvCache::new(3, 4, false);
        let mut table = BlockTable::default();
        assert!(cache.admit(&mut table, &[1, 2], 0, 8, 8));
        cache.register(&mut table, &[1, 2]);
        assert_eq!(cache.find_prefix(&[1, 2], 9), 0);
        assert_eq!((cache.free(), cache.usage()), (0, 1.0));
        assert!(!cache.grow(&mut table, 9));
        cache.release(&mut table);
        assert_eq!(cache.usage(), 0.0);
    }
}
