//! What the notes and the page say about committed runs and about measurements that others published.

mod committed;
mod insight;
