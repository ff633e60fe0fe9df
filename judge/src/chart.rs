//! Questions that are answered series by series. Which series a question reads, which element each makes, to which
//! part that belongs and to which host is found out once and kept as long as no series of the metric comes or goes;
//! of what a question reads, only samples are looked at then. Most elements satisfy nobody's threshold, so nobody ever
//! wants to see their labels.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{ENDPOINT, Labels, Sample, Timestamp};
use promql::{Expr, Fold, Params, Single};
use storage::Sight;

use crate::answer::{Answer, Places};
use crate::arrival::{Hosts, Wave};
use crate::question::{Question, key_of};

/// Hosts that get a number; the names of others are compared.
const HOSTS_MAX: usize = 1_000_000;
/// The number of a host that has none.
const UNNUMBERED: u32 = u32::MAX;
/// The place of an element that belongs to no part.
const NOWHERE: u32 = u32::MAX;

/// The series of a question and what becomes of them.
#[derive(Debug)]
pub(crate) struct Chart {
    /// Their numbers in the store.
    series: Arc<[u32]>,
    places: Places,
    /// In the order of the series.
    cells: Vec<Cell>,
    elements: Vec<Element>,
    drops_name: bool,
}

/// A series.
#[derive(Debug, Clone, Copy)]
struct Cell {
    element: u32,
    host: u32,
}

#[derive(Debug)]
struct Element {
    /// With the name that is dropped when somebody wants to see them.
    labels: Labels,
    place: u32,
}

impl Chart {
    /// The labels of an element.
    pub(crate) fn labels(&self, element: u32) -> Labels {
        let labels = self.elements.get(element as usize).map(|element| &element.labels);
        match (labels, self.drops_name) {
            (Some(labels), true) => labels.without_metric_name(),
            (Some(labels), false) => labels.clone(),
            (None, _) => Labels::empty(),
        }
    }
}

/// Numbers for the names of hosts, the same for all charts.
#[derive(Debug, Default)]
pub(crate) struct HostNumbers(Mutex<HashMap<Box<str>, u32>>);

impl HostNumbers {
    fn number(&self, host: &str) -> u32 {
        let mut known = self.known();
        if let Some(number) = known.get(host) {
            return *number;
        }
        if known.len() >= HOSTS_MAX {
            return UNNUMBERED;
        }
        let number = known.len() as u32;
        known.insert(host.into(), number);
        number
    }

    /// Those of a wave that looks at some hosts only.
    pub(crate) fn scope(&self, wave: &Arc<Wave>) -> HostScope {
        let known = self.known();
        let mut is_in = vec![false; known.len()];
        if let Hosts::Some(hosts) = &wave.hosts {
            let numbers = hosts.iter().filter_map(|host| known.get(host));
            numbers.for_each(|number| is_in[*number as usize] = true);
        }
        HostScope { is_in, wave: Arc::clone(wave) }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Box<str>, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The hosts that a wave looks at.
#[derive(Debug)]
pub(crate) struct HostScope {
    /// By number. Those that got theirs later have to be looked up by name.
    is_in: Vec<bool>,
    wave: Arc<Wave>,
}

impl HostScope {
    fn contains(&self, host: u32, labels: &Labels) -> bool {
        match self.is_in.get(host as usize) {
            Some(is_in) => *is_in,
            None => self.wave.hosts.contain(labels),
        }
    }
}

/// A question to be answered series by series.
#[derive(Debug)]
pub(crate) struct Sweep {
    pub(crate) question: Arc<Question>,
    /// It, for all parts.
    pub(crate) expr: Arc<Expr>,
    pub(crate) places: Places,
    /// The hosts to look at; `None` for all.
    pub(crate) hosts: Option<Arc<HostScope>>,
    /// The parts to look at, by place; `None` for all.
    pub(crate) parts: Option<Vec<bool>>,
}

impl Sweep {
    /// The answer; `None` when the question has to be asked as a whole.
    pub(crate) fn answer(
        &self,
        sight: &Sight<'_>,
        at: Timestamp,
        numbers: &HostNumbers,
    ) -> Option<Answer> {
        let plan = promql::plan(&self.expr, Params::instant(at)).ok()?;
        let single = Single::of(&plan)?;
        let chart = self.question.chart();
        let chart = chart.filter(|chart| Arc::ptr_eq(&chart.places, &self.places));
        let known = chart.and_then(|chart| self.by_chart(sight, &single, &chart));
        known.unwrap_or_else(|| self.anew(sight, &single, numbers))
    }

    /// By what is known of the series; `None` when they are others by now.
    fn by_chart(
        &self,
        sight: &Sight<'_>,
        single: &Single<'_>,
        chart: &Arc<Chart>,
    ) -> Option<Option<Answer>> {
        let mut is_same = false;
        let choose = |series: &Arc<[u32]>| {
            is_same = Arc::ptr_eq(series, &chart.series);
            if is_same { self.chosen(chart) } else { Vec::new() }
        };
        let mut gathered = Gathered::new(single, self, chart);
        let take = |at: usize, _: &Labels, samples: &[Sample]| {
            if let (Some(cell), Some(value)) = (chart.cells.get(at), single.value(samples)) {
                gathered.take(chart, cell.element, value);
            }
        };
        let is_all = sight.each(single.selection(), single.hints(), choose, take);
        let answer = gathered.finish(chart);
        is_same.then(|| is_all.then(|| answer.named_by(Arc::clone(chart))))
    }

    /// By looking at all series, whose chart is made.
    fn anew(
        &self,
        sight: &Sight<'_>,
        single: &Single<'_>,
        numbers: &HostNumbers,
    ) -> Option<Answer> {
        let mut drawn = None;
        let mut drawing =
            Drawing { sweep: self, single, numbers, known: HashMap::new(), key: String::new() };
        let mut chart = Chart {
            series: Arc::from([]),
            places: Arc::clone(&self.places),
            cells: Vec::new(),
            elements: Vec::new(),
            drops_name: !single.is_folded() && !single.keeps_name(),
        };
        let mut is_fit = true;
        let mut values: Vec<(u32, f64)> = Vec::new();
        let choose = |series: &Arc<[u32]>| {
            drawn = Some(Arc::clone(series));
            (0..series.len() as u32).collect()
        };
        let take = |at: usize, labels: &Labels, samples: &[Sample]| {
            let cell = drawing.enter(&mut chart, labels).filter(|_| at + 1 == chart.cells.len());
            is_fit &= cell.is_some();
            if let (Some(cell), Some(value)) = (cell, single.value(samples))
                && self.wants(&chart, cell, labels)
            {
                values.push((cell.element, value));
            }
        };
        let is_all = sight.each(single.selection(), single.hints(), choose, take);
        if !is_fit {
            self.question.ask_as_a_whole();
        }
        chart.series = drawn?;
        if !is_fit || !is_all || chart.cells.len() != chart.series.len() {
            return None;
        }
        let chart = Arc::new(chart);
        let mut gathered = Gathered::new(single, self, &chart);
        values.into_iter().for_each(|(element, value)| gathered.take(&chart, element, value));
        let answer = gathered.finish(&chart).named_by(Arc::clone(&chart));
        self.question.keep_chart(chart);
        Some(answer)
    }

    /// The series to look at.
    fn chosen(&self, chart: &Chart) -> Vec<u32> {
        let all = (0..).zip(&chart.cells);
        all.filter(|(_, cell)| {
            let element = &chart.elements[cell.element as usize];
            self.wants(chart, **cell, &element.labels)
        })
        .map(|(at, _)| at)
        .collect()
    }

    fn wants(&self, chart: &Chart, cell: Cell, labels: &Labels) -> bool {
        let is_of_host = |hosts: &Arc<HostScope>| hosts.contains(cell.host, labels);
        if !self.hosts.as_ref().is_none_or(is_of_host) {
            return false;
        }
        let place = chart.elements[cell.element as usize].place as usize;
        match &self.parts {
            Some(parts) => parts.get(place).is_some_and(|is_wanted| *is_wanted),
            None => place != NOWHERE as usize,
        }
    }
}

/// Makes a chart.
struct Drawing<'s> {
    sweep: &'s Sweep,
    single: &'s Single<'s>,
    numbers: &'s HostNumbers,
    /// The elements that series are folded into.
    known: HashMap<Labels, u32>,
    key: String,
}

impl Drawing<'_> {
    /// Enters the next series. `None` when the question has to be asked as a whole.
    fn enter(&mut self, chart: &mut Chart, series: &Labels) -> Option<Cell> {
        let labels = self.single.element(series)?;
        let next = u32::try_from(chart.elements.len()).ok()?;
        let element = match self.single.is_folded() {
            true => *self.known.entry(labels.clone()).or_insert(next),
            false => next,
        };
        if element == next {
            key_of(&self.sweep.question.labels, &labels, &mut self.key);
            let place = chart.places.get(&self.key).and_then(|place| u32::try_from(*place).ok());
            // Those of the store are shared with it.
            let labels = if self.single.is_folded() { labels } else { series.clone() };
            chart.elements.push(Element { labels, place: place.unwrap_or(NOWHERE) });
        }
        let host = self.numbers.number(series.get(ENDPOINT).unwrap_or(""));
        let cell = Cell { element, host };
        chart.cells.push(cell);
        Some(cell)
    }
}

/// An answer in the making.
struct Gathered {
    answer: Answer,
    empty: Option<Fold>,
    /// What is folded so far, by element.
    folds: Vec<Option<Fold>>,
    /// The elements in the order in which they got their first value.
    order: Vec<u32>,
}

impl Gathered {
    fn new(single: &Single<'_>, sweep: &Sweep, chart: &Chart) -> Self {
        let mut answer = Answer::of_chart(&sweep.places);
        let empty = single.fold();
        let folds = empty.map_or_else(Vec::new, |_| vec![None; chart.elements.len()]);
        if sweep.hosts.is_none() && sweep.places.len() == 1 {
            answer.expect(0, chart.elements.len());
        }
        Self { answer, empty, folds, order: Vec::new() }
    }

    /// Takes the value of a series.
    fn take(&mut self, chart: &Chart, element: u32, value: f64) {
        let Some(empty) = self.empty else {
            let place = chart.elements[element as usize].place;
            return self.answer.push(place as usize, element, value);
        };
        let fold = &mut self.folds[element as usize];
        if fold.is_none() {
            self.order.push(element);
        }
        fold.get_or_insert(empty).push(value);
    }

    fn finish(mut self, chart: &Chart) -> Answer {
        for element in self.order {
            if let Some(fold) = self.folds[element as usize] {
                let place = chart.elements[element as usize].place;
                self.answer.push(place as usize, element, fold.value());
            }
        }
        self.answer
    }
}
