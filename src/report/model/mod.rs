//! A stored run as everything that shows it reads it: axes, cells with their usable numbers, lines along an
//! axis, the fate of every server, rankings and effects. Everything refers to a cell, an axis, a server or a
//! workload by its index.

mod cell;
mod curve;
mod effect;
mod failure;
mod front;
mod grid;
mod line;
mod noise;
mod numbers;
mod ranked;
mod ranking;
mod server;
mod surface;

pub(crate) use super::origin::Origin;
pub(crate) use cell::{Cell, Streaming};
pub(crate) use curve::{Curve, Point, Window, carried, falls_behind, keeps_up};
pub(crate) use effect::{Change, Effect, Judgement, Level, SAME};
pub(crate) use failure::{Ended, failures};
pub(crate) use front::{front, pareto};
pub(crate) use grid::{Block, Grid};
pub(crate) use line::Line;
pub(crate) use noise::{Doubt, Noise, between_repeats};
pub(crate) use ranked::Model;
pub(crate) use ranking::{Met, Ranking, Trust, deciding, is_beyond, meets, slo_text};
pub(crate) use server::{Fate, Server};
