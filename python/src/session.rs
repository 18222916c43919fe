//! A training on a thread of its own, which goes on as far as Python asks.
//!
//! Between two of its steps the thread waits at its [`Desk`] for what the [`Session`] asks. So a signal is answered while a
//! step is under way, whatever the step, and what Python does between two steps holds nothing of the training.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use dpc::privacy::certificate::Certificate;
use dpc::tensors::Tensors;
use pyo3::prelude::*;

use crate::errors::Kind;

/// The time between looks at signals.
const PATIENCE: Duration = Duration::from_millis(50);

/// What the steps so far have come to.
pub struct State {
    pub parameters: Tensors,
    pub certificate: Certificate,
}

/// What is known before the first step.
#[derive(Clone, Debug, IntoPyObject)]
pub struct Plan {
    /// Planned, and of these taken before, where a run is resumed.
    pub steps: u64,
    pub taken: u64,
    /// The sample rate.
    pub rate: f64,
    pub noise_multiplier: f64,
    /// Rows of a physical batch.
    pub rows: usize,
    /// The device's name.
    pub device: String,
    /// What there is to be warned of.
    pub warnings: Vec<String>,
    /// The inputs whose bytes are divided by 255.
    pub bytes: Vec<String>,
    /// Whether the steps are counted in the directory of a run.
    pub in_directory: bool,
}

/// A training between two of its steps.
pub trait Current {
    /// Steps taken.
    fn step(&self) -> u64;

    /// What they have come to.
    fn state(&mut self) -> PyResult<State>;

    /// The records that the next one draws; none at the end.
    fn drawn(&self) -> Option<Vec<usize>>;
}

#[derive(Clone, Copy)]
enum Ask {
    /// Steps for this long, and at least one.
    Go(Duration),
    State,
    Drawn,
    Stop,
}

enum Answer {
    Planned(Plan),
    Step(u64),
    State(PyResult<State>),
    Drawn(Option<Vec<usize>>),
    /// The end of the training, with what it came to as far as that is known.
    Ended(PyResult<()>, Option<State>),
}

/// The side of the training.
pub struct Desk {
    asks: Receiver<Ask>,
    answers: Sender<Answer>,
    until: Instant,
}

impl Desk {
    /// Says what is planned; false where not even the first step is to be taken.
    pub fn begins(&mut self, plan: Plan, current: &mut dyn Current) -> bool {
        self.answers.send(Answer::Planned(plan)).is_ok() && self.waits(current)
    }

    /// Whether another step is to be taken.
    pub fn goes_on(&mut self, current: &mut dyn Current) -> bool {
        if Instant::now() < self.until {
            match self.asks.try_recv() {
                Err(TryRecvError::Empty) => return true,
                Ok(Ask::Go(patience)) => return self.goes(patience),
                Ok(Ask::Stop) | Err(TryRecvError::Disconnected) => return false,
                Ok(ask) => return self.answers(ask, current) && self.waits(current),
            }
        }
        self.answers.send(Answer::Step(current.step())).is_ok() && self.waits(current)
    }

    fn waits(&mut self, current: &mut dyn Current) -> bool {
        loop {
            match self.asks.recv() {
                Ok(Ask::Go(patience)) => return self.goes(patience),
                Ok(Ask::Stop) | Err(_) => return false,
                Ok(ask) if self.answers(ask, current) => {}
                Ok(_) => return false,
            }
        }
    }

    fn goes(&mut self, patience: Duration) -> bool {
        self.until = Instant::now() + patience;
        true
    }

    fn answers(&mut self, ask: Ask, current: &mut dyn Current) -> bool {
        let answer = match ask {
            Ask::Drawn => Answer::Drawn(current.drawn()),
            _ => Answer::State(current.state()),
        };
        self.answers.send(answer).is_ok()
    }
}

/// The side of Python.
#[pyclass(module = "dpc._dpc", frozen)]
pub struct Session {
    line: Mutex<Line>,
    plan: Plan,
    process: u32,
}

struct Line {
    asks: Sender<Ask>,
    answers: Mutex<Receiver<Answer>>,
    ended: bool,
    /// What the training came to, once it has ended.
    last: Option<State>,
}

impl Session {
    /// Begins `training`, up to what comes before its first step.
    pub fn begin(
        py: Python<'_>,
        training: impl FnOnce(&mut Desk) -> (PyResult<()>, Option<State>) + Send + 'static,
    ) -> PyResult<Session> {
        let (asks, asked) = channel();
        let (answering, answers) = channel();
        let run = move || {
            let mut desk = Desk { asks: asked, answers: answering, until: Instant::now() };
            let (result, state) = training(&mut desk);
            // Nobody may be left to hear it.
            let _ = desk.answers.send(Answer::Ended(result, state));
        };
        let started = thread::Builder::new().name("dpc training".to_owned()).spawn(run);
        started.map_err(|error| Kind::Train.says(&error.to_string(), "dpc::python::thread", None))?;
        let mut line = Line { asks, answers: Mutex::new(answers), ended: false, last: None };
        match line.hears(py, std::process::id())? {
            Some(Answer::Planned(plan)) => Ok(Session { line: Mutex::new(line), plan, process: std::process::id() }),
            _ => Err(broken()),
        }
    }

    /// What is planned.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What the steps so far have come to; `None` where that is not known.
    pub fn state(&self, py: Python<'_>) -> PyResult<Option<State>> {
        let mut line = self.line()?;
        if line.ended {
            return Ok(line.last.take());
        }
        line.ask(Ask::State)?;
        match line.hears(py, self.process)? {
            Some(Answer::State(state)) => state.map(Some),
            None => Ok(line.last.take()),
            _ => Err(broken()),
        }
    }

    /// Another thread that waited for it would keep Python from the one that has it.
    fn line(&self) -> PyResult<MutexGuard<'_, Line>> {
        match self.line.try_lock() {
            Ok(line) => Ok(line),
            Err(TryLockError::Poisoned(error)) => Ok(error.into_inner()),
            Err(TryLockError::WouldBlock) => {
                let help = "ask between two steps, from the thread that trains";
                Err(Kind::Train.says("a step is under way", "dpc::python::under_way", Some(help)))
            }
        }
    }
}

#[pymethods]
impl Session {
    /// What is planned, as a dict.
    fn planned(&self) -> Plan {
        self.plan.clone()
    }

    /// Trains for so many seconds, and for at least one step; the number of steps taken, or `None` after the last one.
    fn go(&self, py: Python<'_>, seconds: f64) -> PyResult<Option<u64>> {
        let mut line = self.line()?;
        if line.ended {
            return Ok(None);
        }
        line.ask(Ask::Go(Duration::try_from_secs_f64(seconds).unwrap_or_default()))?;
        match line.hears(py, self.process)? {
            Some(Answer::Step(step)) => Ok(Some(step)),
            None => Ok(None),
            _ => Err(broken()),
        }
    }

    /// The records that the next step draws; `None` where there is none.
    fn drawn(&self, py: Python<'_>) -> PyResult<Option<Vec<usize>>> {
        let mut line = self.line()?;
        if line.ended {
            return Ok(None);
        }
        line.ask(Ask::Drawn)?;
        match line.hears(py, self.process)? {
            Some(Answer::Drawn(records)) => Ok(records),
            None => Ok(None),
            _ => Err(broken()),
        }
    }

    /// Ends the training after the step under way.
    fn end(&self, py: Python<'_>) -> PyResult<()> {
        let mut line = self.line()?;
        if line.ended {
            return Ok(());
        }
        line.ask(Ask::Stop)?;
        while line.hears(py, self.process)?.is_some() {}
        Ok(())
    }
}

impl Line {
    fn ask(&mut self, ask: Ask) -> PyResult<()> {
        self.asks.send(ask).or_else(|_| if self.ended { Err(broken()) } else { Ok(()) })
    }

    /// The next answer; `None` at the end of the training. A signal ends the training, and what it raises is raised after
    /// the step under way.
    fn hears(&mut self, py: Python<'_>, process: u32) -> PyResult<Option<Answer>> {
        if std::process::id() != process {
            let help = "train in the process that began it; a fork has none of its threads";
            return Err(Kind::Train.says("the training belongs to another process", "dpc::python::forked", Some(help)));
        }
        let mut raised = None;
        loop {
            let answers = &self.answers;
            let heard = py.detach(|| answers.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(PATIENCE));
            match heard {
                Ok(Answer::Ended(result, state)) => {
                    self.ended = true;
                    self.last = state;
                    return match raised {
                        Some(raised) => Err(raised),
                        None => result.map(|()| None),
                    };
                }
                Ok(answer) if raised.is_none() => return Ok(Some(answer)),
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.ended = true;
                    return Err(raised.unwrap_or_else(broken));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if raised.is_none()
                && let Err(error) = py.check_signals()
            {
                raised = Some(error);
                // An end that has come by itself is as good.
                let _ = self.asks.send(Ask::Stop);
            }
        }
    }
}

fn broken() -> PyErr {
    Kind::Train.says("the training has broken off", "dpc::python::broken", Some("this is a defect of dpc"))
}
