//! Labels in a model's tokens, as a tree: what several labels begin with stands there once.

use std::ops::Range;

/// The labels that a model chooses from, in its tokens.
pub(crate) struct LabelTree {
    /// Each beginning of a label, its children right behind it (the order of a walk that goes
    /// down first). The first is the empty one: the end of the prompt.
    nodes: Vec<Node>,
    labels: usize,
    longest: usize,
}

/// What some labels begin with.
pub(crate) struct Node {
    /// Its last token. Of the empty beginning: of no meaning.
    pub(crate) token: u32,
    /// The node with one token less.
    pub(crate) parent: usize,
    /// Its tokens.
    pub(crate) depth: usize,
    /// The tokens that can follow, and what is reached with them.
    pub(crate) next: Vec<(u32, Reached)>,
}

/// Where a token leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// To a longer beginning, by its place.
    Node(usize),
    /// To the end of a label, by its place in the caller's list. Nothing follows, so a label's
    /// last token is scored and never read.
    Label(usize),
}

impl LabelTree {
    /// Puts labels together; each has a token at least.
    pub(crate) fn new(labels: &[Vec<u32>]) -> Self {
        let root = Node { token: 0, parent: 0, depth: 0, next: Vec::new() };
        let mut nodes = vec![root];
        let mut order: Vec<usize> = (0..labels.len()).collect();
        order.sort_by_key(|&label| &labels[label]);
        // The nodes on the way to the label before, by their depth.
        let mut way = vec![0];
        for label in order {
            let Some((&end, read)) = labels[label].split_last() else { continue };
            let known = way[1..].iter().zip(read).take_while(|&(&at, &id)| nodes[at].token == id);
            way.truncate(1 + known.count());
            for &token in &read[way.len() - 1..] {
                let (parent, depth, at) = (way[way.len() - 1], way.len(), nodes.len());
                nodes[parent].next.push((token, Reached::Node(at)));
                nodes.push(Node { token, parent, depth, next: Vec::new() });
                way.push(at);
            }
            nodes[way[way.len() - 1]].next.push((end, Reached::Label(label)));
        }
        let longest = labels.iter().map(Vec::len).max().unwrap_or(0);
        LabelTree { nodes, labels: labels.len(), longest }
    }

    /// All beginnings; the empty one is the first.
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// How many labels there are.
    pub(crate) fn labels(&self) -> usize {
        self.labels
    }

    /// Tokens of the longest label.
    pub(crate) fn longest(&self) -> usize {
        self.longest
    }

    /// Beginnings that lead to no longer one.
    pub(crate) fn tips(&self) -> usize {
        (1..self.nodes.len()).filter(|&at| !self.goes_on(at)).count()
    }

    /// Whether the next node is a child.
    fn goes_on(&self, at: usize) -> bool {
        self.nodes.get(at + 1).is_some_and(|next| next.parent == at)
    }

    /// All nodes but the empty one, cut into passes of so many tokens and chains at most. A chain
    /// is a run of nodes, each the child of the one before.
    pub(crate) fn passes(&self, tokens: usize, chains: usize) -> Vec<Vec<Range<usize>>> {
        let mut passes: Vec<Vec<Range<usize>>> = Vec::new();
        let mut left = 0;
        for at in 1..self.nodes.len() {
            let continued = left > 0 && self.goes_on(at - 1);
            let fits = left > 0 && passes.last().is_some_and(|pass| pass.len() < chains);
            if !continued && !fits {
                passes.push(Vec::new());
                left = tokens.max(1);
            }
            left -= 1;
            if let Some(pass) = passes.last_mut() {
                match pass.last_mut() {
                    Some(chain) if continued => chain.end = at + 1,
                    _ => pass.push(at..at + 1),
                }
            }
        }
        passes
    }

    /// The way to the end of a chain as far as it lies behind `first`, the first node of a pass:
    /// runs of nodes, the last of them first.
    pub(crate) fn way(&self, chain: &Range<usize>, first: usize) -> Vec<Range<usize>> {
        let mut runs = vec![chain.clone()];
        let mut from = chain.start;
        while self.nodes[from].parent >= first {
            let to = self.nodes[from].parent;
            from = to;
            while from > first && self.goes_on(from - 1) {
                from -= 1;
            }
            runs.push(from..to + 1);
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const END: u32 = 9;

    fn tree(labels: &[&[u32]]) -> LabelTree {
        let ended = labels.iter().map(|label| [label, &[END][..]].concat());
        LabelTree::new(&ended.collect::<Vec<_>>())
    }

    #[test]
    fn what_labels_share_stands_once() {
        let tree = tree(&[&[1, 2, 3], &[1, 2], &[4], &[1, 2, 5]]);
        let tokens: Vec<u32> = tree.nodes()[1..].iter().map(|node| node.token).collect();
        assert_eq!(tokens, [1, 2, 3, 5, 4]);
        assert_eq!((tree.labels(), tree.longest(), tree.tips()), (4, 4, 3));
        assert_eq!(tree.nodes()[2].next.last(), Some(&(END, Reached::Label(1))));
        assert_eq!(tree.passes(100, 100), [[1..4, 4..5, 5..6]]);
        assert_eq!(tree.way(&(4..5), 1), [4..5, 1..3]);
        // Cut after the first two tokens, only one chain at once.
        let passes = tree.passes(2, 1);
        assert_eq!((passes.len(), passes.concat()), (4, vec![1..3, 3..4, 4..5, 5..6]));
        assert_eq!(tree.way(&(4..5), 4).len(), 1);
    }

    #[test]
    fn labels_of_one_token_need_no_reading() {
        let tree = tree(&[&[]]);
        assert_eq!(tree.nodes()[0].next, [(END, Reached::Label(0))]);
        assert!(tree.passes(8, 8).is_empty());
        assert_eq!(tree.tips(), 0);
    }

    proptest! {
        /// Whatever the labels and the limits: every label is found on its way from the root, and
        /// every node is in one pass, behind its parent.
        #[test]
        fn every_beginning_is_computed_once(
            labels in prop::collection::vec(prop::collection::vec(0u32..3, 1..7), 1..30),
            tokens in 1usize..9,
            chains in 1usize..5,
        ) {
            let tree = LabelTree::new(&labels);
            let beginnings: std::collections::HashSet<&[u32]> = labels
                .iter()
                .flat_map(|label| (1..label.len()).map(|to| &label[..to]))
                .collect();
            prop_assert_eq!(tree.nodes().len() - 1, beginnings.len());
            let text = |mut at: usize| {
                let mut text = Vec::new();
                while at > 0 {
                    text.insert(0, tree.nodes()[at].token);
                    at = tree.nodes()[at].parent;
                }
                text
            };
            let mut found = vec![None; labels.len()];
            for (at, node) in tree.nodes().iter().enumerate() {
                prop_assert_eq!(text(at).len(), node.depth);
                for &(id, reached) in &node.next {
                    match reached {
                        Reached::Node(child) => prop_assert_eq!(tree.nodes()[child].parent, at),
                        Reached::Label(label) => found[label] = Some([text(at), vec![id]].concat()),
                    }
                }
            }
            let wanted: Vec<_> = labels.iter().cloned().map(Some).collect();
            prop_assert_eq!(found, wanted);
            let mut next = 1;
            for pass in tree.passes(tokens, chains) {
                let first = pass[0].start;
                prop_assert!(pass.len() <= chains);
                prop_assert!(pass.iter().map(ExactSizeIterator::len).sum::<usize>() <= tokens);
                for chain in &pass {
                    prop_assert_eq!(chain.start, next);
                    next = chain.end;
                    let way = tree.way(chain, first);
                    let runs = way.iter().rev().cloned().flatten();
                    let here: Vec<u32> = runs.map(|at| tree.nodes()[at].token).collect();
                    prop_assert!(text(chain.end - 1).ends_with(&here));
                    let top = way[way.len() - 1].start;
                    prop_assert!(tree.nodes()[top].parent < first);
                    prop_assert_eq!(tree.nodes()[top].depth + here.len(), tree.nodes()[chain.end - 1].depth + 1);
                }
            }
            prop_assert_eq!(next, tree.nodes().len());
        }
    }
}
