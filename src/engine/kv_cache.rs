//! The KV cache: memory in blocks of equal size, shared by reference count, found again by the hash of all tokens so far.
//!
//! It keeps vLLM's rules (`vllm/v1/core`: `block_pool.py`, `kv_cache_manager.py`). A full block keeps its hash after its
//! last user has left, and stands at the end of the free blocks; the block that was free longest is taken first and
//! forgets its hash. A request gives its blocks back last one first, so that the ends of prompts are forgotten before
//! their beginnings. Blocks with the same hash may exist more than once: a block that is in a request's table stays there.
//! One block is never handed out (vLLM's null block).

use std::collections::HashMap;

const NONE: u32 = u32::MAX;

/// The blocks of one request, in the order of its tokens.
#[derive(Debug, Default)]
pub struct BlockTable {
    blocks: Vec<u32>,
    /// How many of them are known by their hash.
    known: usize,
}

impl BlockTable {
    /// How many blocks there are.
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// How many of them others find by their hash.
    pub fn known(&self) -> usize {
        self.known
    }
}

#[derive(Clone, Copy, Debug)]
struct Block {
    /// Requests that hold it.
    refs: u32,
    hash: Option<u64>,
    /// Neighbours among the free blocks.
    before: u32,
    after: u32,
}

/// Every block of one engine.
#[derive(Debug)]
pub struct KvCache {
    block_size: u64,
    /// Blocks that may be handed out.
    usable: u32,
    /// Blocks that were handed out at least once; the others are free, and before all of these.
    blocks: Vec<Block>,
    /// The free block that is taken first, and the one that is taken last.
    first: u32,
    last: u32,
    /// Free blocks among `blocks`.
    returned: u32,
    /// Blocks by hash, the oldest first; absent without prefix caching.
    known: Option<HashMap<u64, Vec<u32>>>,
}

impl KvCache {
    /// A cache of so many blocks of `block_size` tokens, one of which is never handed out.
    pub fn new(blocks: u32, block_size: u32, prefix_caching: bool) -> Self {
        Self {
            block_size: u64::from(block_size.max(1)),
            usable: blocks.saturating_sub(1),
            blocks: Vec::new(),
            first: NONE,
            last: NONE,
            returned: 0,
            known: prefix_caching.then(HashMap::new),
        }
    }

    /// Tokens of a block.
    pub fn block_size(&self) -> u64 {
        self.block_size
    }

    /// Blocks that may be handed out.
    pub fn usable(&self) -> u32 {
        self.usable
    }

    /// Blocks that no request holds.
    pub fn free(&self) -> u32 {
        self.usable - self.blocks.len() as u32 + self.returned
    }

    /// Part of the blocks in use, 0 to 1.
    pub fn usage(&self) -> f64 {
        if self.usable == 0 {
            return 0.0;
        }
        f64::from(self.usable - self.free()) / f64::from(self.usable)
    }

    /// Whether prefixes are found again.
    pub fn keeps_prefixes(&self) -> bool {
        self.known.is_some()
    }

    /// How many leading blocks of a sequence are known, by the hashes of its full blocks. At least one of its `tokens`
    /// is left to compute: without it there would be nothing to sample from.
    pub fn find(&self, hashes: &[u64], tokens: u64) -> usize {
        let Some(known) = &self.known else { return 0 };
        let most = (tokens.saturating_sub(1) / self.block_size) as usize;
        hashes.iter().take(most).take_while(|hash| known.contains_key(hash)).count()
    }

    /// Gives a sequence that has no blocks yet its `found` known ones and as many new ones as `tokens` need, if there are
    /// as many free as all of its `whole` tokens need. Whether there are.
    pub fn admit(
        &mut self,
        table: &mut BlockTable,
        hashes: &[u64],
        found: usize,
        tokens: u64,
        whole: u64,
    ) -> bool {
        let shared: Vec<u32> = match &self.known {
            Some(known) => hashes[..found].iter().map(|hash| known[hash][0]).collect(),
            None => Vec::new(),
        };
        // A known block that nobody holds counts as free until it is held.
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
        table.known = shared.len();
        table.blocks = shared;
        self.grow(table, tokens)
    }

    /// Gives a sequence the blocks it lacks for `tokens`, all or none. Whether there were enough.
    pub fn grow(&mut self, table: &mut BlockTable, tokens: u64) -> bool {
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

    /// The first blocks of a sequence are full, as many as there are hashes: from now on they are found.
    pub fn remember(&mut self, table: &mut BlockTable, hashes: &[u64]) {
        let Some(known) = &mut self.known else { return };
        let full = hashes.len().min(table.blocks.len());
        let new = table.blocks.iter().zip(hashes).skip(table.known);
        for (block, hash) in new {
            self.blocks[*block as usize].hash = Some(*hash);
            known.entry(*hash).or_default().push(*block);
        }
        table.known = table.known.max(full);
    }

    /// A sequence gives all its blocks back.
    pub fn release(&mut self, table: &mut BlockTable) {
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
        table.known = 0;
    }

    /// The next free block, which forgets what it held. There is one.
    fn take(&mut self) -> u32 {
        if (self.blocks.len() as u32) < self.usable {
            self.blocks.push(Block { refs: 1, hash: None, before: NONE, after: NONE });
            return self.blocks.len() as u32 - 1;
        }
        let block = self.first;
        self.unlink(block);
        let taken = &mut self.blocks[block as usize];
        taken.refs = 1;
        if let (Some(hash), Some(known)) = (taken.hash.take(), &mut self.known)
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
    use crate::engine::tokens::Chain;

    /// The same rules, with whole token lists in place of hashes and a search in place of every index.
    struct Naive {
        size: usize,
        /// Of each block: who holds it, the tokens it ends, when these were first known.
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
        let mut chain = Chain::new(size);
        prompt.iter().for_each(|token| chain.push(*token));
        chain.blocks().to_vec()
    }

    proptest! {
        #[test]
        fn prefixes_are_found_and_forgotten_as_a_naive_reference_does(
            size in 1u64..5, blocks in 2u32..24,
            asks in prop::collection::vec((prop::collection::vec(0u64..2, 1..20), any::<prop::sample::Index>(), any::<bool>()), 1..80)
        ) {
            let mut cache = KvCache::new(blocks, size as u32, true);
            let mut naive = Naive::new(blocks as usize, size as usize);
            let mut held: Vec<(BlockTable, Vec<usize>)> = Vec::new();
            for (prompt, who, leaves) in asks {
                let hashes = hashes(&prompt, size);
                let tokens = prompt.len() as u64;
                let found = cache.find(&hashes, tokens);
                let mut table = BlockTable::default();
                let admitted = cache.admit(&mut table, &hashes, found, tokens, tokens);
                let reference = naive.admit(&prompt);
                prop_assert_eq!(admitted, reference.is_some());
                if let Some((reference_found, reference_held)) = reference {
                    prop_assert_eq!(found, reference_found);
                    cache.remember(&mut table, &hashes);
                    held.push((table, reference_held));
                }
                if leaves && !held.is_empty() {
                    let (mut table, reference_held) = held.swap_remove(who.index(held.len()));
                    cache.release(&mut table);
                    naive.release(&reference_held);
                }
                prop_assert_eq!(cache.free() as usize, naive.free.len());
                prop_assert!(cache.free() <= cache.usable());
                let distinct: std::collections::BTreeSet<u32> =
                    held.iter().flat_map(|(table, _)| table.blocks.iter().copied()).collect();
                prop_assert_eq!(distinct.len() as u32, cache.usable() - cache.free());
            }
        }
    }

    #[test]
    fn without_prefix_caching_nothing_is_found_and_one_block_is_never_handed_out() {
        let mut cache = KvCache::new(3, 4, false);
        let mut table = BlockTable::default();
        assert!(cache.admit(&mut table, &[1, 2], 0, 8, 8));
        cache.remember(&mut table, &[1, 2]);
        assert_eq!(cache.find(&[1, 2], 9), 0);
        assert_eq!((cache.free(), cache.usage()), (0, 1.0));
        assert!(!cache.grow(&mut table, 9));
        cache.release(&mut table);
        assert_eq!(cache.usage(), 0.0);
    }
}
