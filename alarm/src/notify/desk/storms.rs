//! Whatever storms, an urgent message is not kept waiting, and no robot sends more than it may.

use channels::window::Window;
use proptest::prelude::*;

use super::tests::item;
use super::*;

const ROBOT: Limits =
    Limits { per_minute: 18, per_second: 0, reserved_per_minute: 6, text_bytes_max: 1000 };
const START: Timestamp = Timestamp(1_000_000_000);
/// A window, which is a little longer than a minute.
const MINUTE: Duration = Duration::from_secs(61);

/// What comes after so many milliseconds: urgent messages and others.
type Arrival = (u64, usize, usize);

/// Robots at work; what they send is taken at once.
struct World {
    bots: Vec<BotView>,
    desk: Desk,
    windows: HashMap<String, Window>,
    sent: Vec<(usize, Timestamp)>,
    arrived: usize,
    told: usize,
    longest_wait: Duration,
}

impl World {
    fn new(robots: usize) -> Self {
        let view =
            |at: usize| BotView { account: format!("robot {at}"), limits: ROBOT, rings: false };
        Self {
            bots: (0..robots).map(view).collect(),
            desk: Desk::default(),
            windows: HashMap::new(),
            sent: Vec::new(),
            arrived: 0,
            told: 0,
            longest_wait: Duration::ZERO,
        }
    }

    fn arrive(&mut self, urgency: Urgency, count: usize, now: Timestamp) {
        for _ in 0..count {
            self.desk.add(item(&format!("{:06}", self.arrived), urgency, "", now));
            self.arrived += 1;
        }
    }

    /// What a process that starts anew finds in the records.
    fn restart(&mut self, now: Timestamp) {
        self.windows.clear();
        for (bot, at) in self.sent.iter().filter(|(_, at)| *at > now.minus(MINUTE)) {
            let account = self.bots[*bot].account.clone();
            self.windows.entry(account).or_default().take(ROBOT, *at);
        }
    }

    /// Sends what may be sent; says when there is more. Of a send that `is_lost` nobody heard: the process ended.
    fn work(&mut self, now: Timestamp, mut is_lost: impl FnMut() -> bool) -> Timestamp {
        loop {
            match self.desk.next(&self.bots, &self.windows, now) {
                Action::Wait(at) => return at,
                Action::EndRound(id) => panic!("{id} was never refused"),
                Action::Send { bot, ids } => {
                    self.sent.push((bot, now));
                    let account = self.bots[bot].account.clone();
                    self.windows.entry(account).or_default().take(ROBOT, now);
                    if is_lost() {
                        self.restart(now);
                        continue;
                    }
                    for id in ids {
                        let item = self.desk.take(&id).unwrap();
                        self.told += 1;
                        if item.urgency() == Urgency::Urgent {
                            let wait = now.since(item.row.created_at);
                            self.longest_wait = self.longest_wait.max(wait);
                        }
                    }
                }
            }
        }
    }

    fn run(&mut self, arrivals: &[Arrival], mut is_lost: impl FnMut() -> bool) {
        let mut now = START;
        for (wait, urgent, others) in arrivals {
            let until = now.plus(Duration::from_millis(*wait));
            loop {
                let at = self.work(now, &mut is_lost);
                assert!(at > now, "it does not wait for the past");
                now = at.min(until);
                if now == until {
                    break;
                }
            }
            self.arrive(Urgency::Urgent, *urgent, now);
            self.arrive(Urgency::Normal, *others, now);
        }
        loop {
            let at = self.work(now, &mut is_lost);
            if at == Timestamp::MAX {
                break;
            }
            now = at;
        }
        assert_eq!(self.told, self.arrived, "everything is told");
    }

    /// The most that a robot sent within any minute.
    fn fullest_minute(&self) -> usize {
        let count = |(bot, from): &(usize, Timestamp)| {
            let of_bot = self.sent.iter().filter(|(other, _)| other == bot);
            let until = from.plus(Duration::from_secs(60));
            of_bot.filter(|(_, at)| at >= from && *at < until).count()
        };
        self.sent.iter().map(count).max().unwrap_or(0)
    }

    /// Between two urgent messages at most, whatever there is.
    fn gap(&self) -> Duration {
        let steps = if self.bots.len() == 1 { 3 } else { 6 };
        MINUTE / steps + Duration::from_millis(1)
    }
}

fn storm() -> impl Strategy<Value = Vec<Arrival>> {
    let urgent = prop_oneof![3 => Just(0), 3 => Just(1), 1 => 2_usize..12];
    let others = prop_oneof![2 => Just(0), 1 => 1_usize..60];
    prop::collection::vec((0_u64..8_000, urgent, others), 1..60)
}

#[test]
fn twenty_urgent_alerts_among_a_thousand_wait_for_a_fraction_of_a_minute() {
    let mut world = World::new(2);
    let second = |second: usize| (1_000, usize::from(second.is_multiple_of(3)), 16);
    world.run(&(0..60).map(second).collect::<Vec<_>>(), || false);
    assert_eq!(world.arrived, 980);
    assert!(world.longest_wait <= world.gap(), "{:?}", world.longest_wait);
    assert!(world.fullest_minute() <= 18);
}

proptest! {
    #[test]
    fn no_urgent_message_waits_for_long_and_no_minute_has_more_than_the_limit(
        robots in 1_usize..4,
        arrivals in storm(),
    ) {
        let mut world = World::new(robots);
        world.run(&arrivals, || false);
        prop_assert!(world.longest_wait <= world.gap(), "{:?}", world.longest_wait);
        prop_assert!(world.fullest_minute() <= 18);
    }

    /// A send that a kill takes away costs what it carried one gap more.
    #[test]
    fn nor_does_it_when_the_process_ends_in_the_midst_and_starts_anew(
        robots in 1_usize..4,
        arrivals in storm(),
        losses in prop::collection::vec(any::<bool>(), 1..40),
    ) {
        let mut world = World::new(robots);
        let (mut losses, mut was_lost) = (losses.into_iter(), false);
        world.run(&arrivals, || {
            was_lost = !was_lost && losses.next().unwrap_or(false);
            was_lost
        });
        prop_assert!(world.longest_wait <= world.gap() * 2, "{:?}", world.longest_wait);
        prop_assert!(world.fullest_minute() <= 18);
    }
}
