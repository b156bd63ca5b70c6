//! The kinds of findings: the question each answers, and the kinds that it supersedes.

use serde::Serialize;

/// A question of the reader of a note. A page answers them in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Question {
    /// What does the machine do for this workload?
    Answer,
    /// What does each server axis do?
    Effect,
    /// How far does it scale, and what degrades first?
    Load,
    /// What do longer prompts and answers cost?
    Length,
    /// Where are the numbers unstable?
    Stability,
    /// Where does memory run out?
    Memory,
    /// What does the engine report?
    Engine,
    /// What does it cost?
    Value,
    /// What do these numbers describe?
    Data,
    /// How good were the predictions?
    Prediction,
    /// What should a reader not conclude?
    Caution,
}

impl Question {
    /// The most findings on it that the first page shows.
    pub(crate) fn most(self) -> usize {
        match self {
            Self::Effect => 3,
            Self::Load => 3,
            Self::Length | Self::Engine | Self::Value | Self::Data => 1,
            Self::Stability | Self::Memory => 2,
            Self::Answer | Self::Prediction | Self::Caution => 0,
        }
    }
}

/// Declares the kinds: variant, name, question, whether the first page may show it, documentation.
macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident, $name:literal, $question:ident, $headline:literal;)*) => {
        /// The kind of a finding. Each has a macro of its name in `templates/findings.md.j2`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) enum Kind {
            $($(#[$doc])* $variant,)*
        }

        impl Kind {
            /// Every kind, in the order in which pages show them.
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name in `report --values`, which is also that of its macro.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The question it answers.
            pub(crate) fn question(self) -> Question {
                match self { $(Self::$variant => Question::$question,)* }
            }

            /// Whether the first page may show it. Kinds that only describe a run appear further below.
            pub(crate) fn is_headline(self) -> bool {
                match self { $(Self::$variant => $headline,)* }
            }
        }
    };
}

kinds! {
    /// The recommended operating point of a workload, in one sentence.
    Answer, "answer", Answer, false;
    /// A workload without a cell that may be ranked, and why.
    NoAnswer, "no_answer", Answer, false;

    /// What the recommendation of a block rests on.
    Basis, "basis", Answer, false;

    /// The effect of one axis, everything else equal.
    Effect, "effect", Effect, true;
    /// Servers as good as the best one.
    Tie, "tie", Effect, true;

    /// The SLO term that the next larger load breaks.
    Limit, "limit", Load, true;
    /// An open loop that does not keep up with its rate.
    Saturation, "saturation", Load, true;
    /// The load after which more adds little throughput.
    Knee, "knee", Load, true;
    /// How throughput grows with the load.
    Scaling, "scaling", Load, true;
    /// The best cell has the most load that was tried.
    Edge, "edge", Load, true;
    /// How TTFT grows with the load, and the time per token beside it.
    TtftGrowth, "ttft_growth", Load, true;
    /// How the latency of whole requests grows with the load.
    LatencyGrowth, "latency_growth", Load, true;
    /// The highest throughput.
    Peak, "peak", Load, false;
    /// How fast a single stream decodes.
    DecodeSpeed, "decode_speed", Load, true;
    /// Cells that were not tried because a smaller load missed the SLO or failed.
    LadderEnd, "ladder_end", Load, false;

    /// What longer prompts cost.
    PromptLength, "prompt_length", Length, true;
    /// Longer answers that give fewer tokens per second.
    OutputCosts, "output_costs", Length, true;
    /// Longer answers that make others wait.
    HeldUp, "held_up", Length, true;
    /// How latency grows with the length of answers.
    OutputLength, "output_length", Length, true;

    /// A latency above that of both neighbours on an axis.
    Ridge, "ridge", Stability, true;
    /// A tail longer than that of both neighbours on an axis.
    TailRidge, "tail_ridge", Stability, true;
    /// A latency that takes off along an axis.
    Cliff, "cliff", Stability, true;
    /// A throughput below that of both neighbours on an axis.
    Dip, "dip", Stability, true;
    /// Requests that are faster under more load: then they are not the same requests.
    Falls, "falls", Stability, true;
    /// Repeats that disagree.
    RepeatsDisagree, "repeats_disagree", Stability, true;
    /// Inter-token latencies of two sizes.
    BimodalItl, "bimodal_itl", Stability, true;
    /// A stream of tokens that stalls now and then.
    Stalls, "stalls", Stability, true;
    /// A p95 far above its median.
    LongTail, "long_tail", Stability, true;
    /// A cell whose second half differs from its first.
    NotSteady, "not_steady", Stability, false;
    /// How well the repeats know what they were repeated for.
    Precision, "precision", Stability, false;
    /// How far repeats usually are apart.
    Noise, "noise", Stability, false;
    /// The longest tail, if none is long.
    Tail, "tail", Stability, false;

    /// Where memory runs out along an axis.
    Boundary, "boundary", Memory, true;
    /// Memory sufficed everywhere.
    AllFit, "all_fit", Memory, false;

    /// Where the time of a mean request goes.
    WhereTimeGoes, "where_time_goes", Engine, false;
    /// Whether the client and the server count the same.
    ClientAndServer, "client_and_server", Engine, false;
    /// A KV cache that is full, or preempts.
    KvCache, "kv_cache", Engine, true;
    /// Processor time, memory and energy of the server.
    Machine, "machine", Engine, false;
    /// Prompt tokens that the prefix cache held.
    PrefixCache, "prefix_cache", Engine, true;

    /// What a million output tokens cost.
    Cost, "cost", Value, true;
    /// Where most requests met every target.
    Goodput, "goodput", Value, false;
    /// The cells that no other beats in latency and throughput.
    Pareto, "pareto", Value, false;

    /// Answers that arrived in one piece.
    NotStreamed, "not_streamed", Data, true;
    /// Requests that failed.
    Errors, "errors", Data, true;
    /// Answers shorter than configured.
    AskedAndGot, "asked_and_got", Data, false;
    /// How an open loop sent its requests.
    OpenLoop, "open_loop", Data, false;
    /// How the streams of a closed loop started.
    Starts, "starts", Data, false;
    /// Cells whose streams started in another way: they are not compared with the rest.
    StartModes, "start_modes", Data, false;
    /// How far the steady part of a cell differs from the whole.
    SteadyWindow, "steady_window", Data, false;

    /// The errors of the predictions.
    PredictionError, "prediction_error", Prediction, false;
    /// A cell far from its prediction, with possible reasons.
    PredictionFar, "prediction_far", Prediction, false;
    /// A server that was predicted wrongly.
    PredictionServer, "prediction_server", Prediction, false;
    /// What was not predicted.
    PredictionMissing, "prediction_missing", Prediction, false;

    /// Simulated numbers.
    Simulated, "simulated", Caution, false;
    /// Predicted numbers.
    Predicted, "predicted", Caution, false;
    /// Cells that were measured once.
    MeasuredOnce, "measured_once", Caution, false;
    /// Percentiles that rest on few samples.
    FewSamples, "few_samples", Caution, false;
    /// Cells that are excluded as a whole.
    Excluded, "excluded", Caution, false;
    /// How long the prompts were.
    PromptsWere, "prompts_were", Caution, false;
}

impl Kind {
    /// The kinds that this one makes superfluous, if they are about the same block and no other cells.
    pub(crate) fn supersedes(self) -> &'static [Self] {
        match self {
            Self::Knee | Self::Saturation => &[Self::Edge],
            Self::Ridge => &[Self::TailRidge, Self::LongTail],
            Self::TailRidge | Self::Stalls => &[Self::LongTail],
            Self::RepeatsDisagree => &[Self::NotSteady],
            Self::NotStreamed => &[Self::TtftGrowth, Self::HeldUp],
            Self::OutputCosts => &[Self::OutputLength],
            _ => &[],
        }
    }

    /// Whether it is about its whole block, so that it supersedes other kinds whatever their cells.
    pub(crate) fn is_of_block(self) -> bool {
        matches!(self, Self::Knee | Self::Saturation | Self::NotStreamed)
    }
}
