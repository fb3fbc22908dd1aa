//! The timeline as it happened, in a terminal: pause, speed, search.
//!
//! Lines scroll as any command's output; the last line says how fast it goes and what keys there are.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::stdio::stdin;
use rustix::termios::{OptionalActions, OutputModes, Termios, tcgetattr, tcsetattr};

use super::load::Recording;
use super::timeline::{self, Moment};

/// The longest that is waited between two exchanges, whatever happened in between.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Speeds lie within these.
const SPEEDS: std::ops::RangeInclusive<f64> = 0.01..=10_000.0;

/// How long to wait from an exchange to the next.
pub(super) fn pause(before_micros: i64, at_micros: i64, speed: f64) -> Duration {
    let micros = u64::try_from(at_micros.saturating_sub(before_micros)).unwrap_or(0);
    let wanted = Duration::from_micros(micros).as_secs_f64() / speed.clamp(*SPEEDS.start(), *SPEEDS.end());
    Duration::from_secs_f64(wanted.min(PAUSE_MAX.as_secs_f64()))
}

/// Back to the line's beginning, and the line emptied (ECMA-48).
const NEW_LINE: &str = "\r\x1b[K";

/// The terminal without echo and line editing; given back however it ends.
struct Raw(Termios);

impl Raw {
    fn new() -> io::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        // What is printed is still printed as anywhere else.
        raw.output_modes = before.output_modes | OutputModes::OPOST;
        tcsetattr(stdin(), OptionalActions::Now, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // Nothing more can be done for a terminal that is gone.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.0);
        let _ = io::stdout().write_all(NEW_LINE.as_bytes());
    }
}

/// A key that means something here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Char(char),
    Enter,
    Backspace,
    Escape,
    Left,
    Right,
    Down,
    Stop,
}

/// The keys that were pressed within a time.
fn keys(wait: Duration) -> io::Result<Vec<Key>> {
    let mut polled = [PollFd::from_borrowed_fd(stdin(), PollFlags::IN)];
    let wait =
        Timespec { tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX), tv_nsec: wait.subsec_nanos().into() };
    match poll(&mut polled, Some(&wait)) {
        Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
        Ok(_) => {}
        Err(error) => return Err(error.into()),
    }
    let mut bytes = [0; 256];
    let read = rustix::io::read(stdin(), &mut bytes[..])?;
    // A terminal that is gone says so by an end.
    if read == 0 { Ok(vec![Key::Stop]) } else { Ok(parse(&bytes[..read])) }
}

fn parse(bytes: &[u8]) -> Vec<Key> {
    let text = String::from_utf8_lossy(bytes);
    let mut rest = &*text;
    let mut keys = Vec::new();
    while let Some(first) = rest.chars().next() {
        let sequence = [("\x1b[D", Key::Left), ("\x1b[C", Key::Right), ("\x1b[B", Key::Down), ("\x1b[A", Key::Escape)];
        if let Some((known, key)) = sequence.into_iter().find(|(known, _)| rest.starts_with(known)) {
            // Up means nothing.
            keys.extend(Some(key).filter(|key| *key != Key::Escape));
            rest = rest.get(known.len()..).unwrap_or_default();
            continue;
        }
        rest = rest.get(first.len_utf8()..).unwrap_or_default();
        keys.push(match first {
            '\r' | '\n' => Key::Enter,
            '\x7f' | '\x08' => Key::Backspace,
            '\x1b' => Key::Escape,
            '\x03' | '\x04' => Key::Stop,
            other => Key::Char(other),
        });
    }
    keys
}

/// What the keys have set.
struct Control {
    speed: f64,
    paused: bool,
    next: usize,
    /// The text being typed, while it is.
    typing: Option<String>,
    searched: String,
    message: String,
    ended: bool,
}

/// Shows it until the end or until somebody ends it.
pub(super) fn run(recordings: &[Recording], moments: &[Moment], speed: f64) -> io::Result<()> {
    let mut out = io::stdout();
    for recording in recordings {
        timeline::summary(recording, &mut out)?;
    }
    let _raw = Raw::new()?;
    let mut control = Control {
        speed,
        paused: false,
        next: 0,
        typing: None,
        searched: String::new(),
        message: String::new(),
        ended: false,
    };
    let mut due = Instant::now();
    while !control.ended {
        let at_end = control.next >= moments.len();
        if !at_end && !control.paused && control.typing.is_none() && Instant::now() >= due {
            show(moments, control.next, &mut out)?;
            control.next += 1;
            if let (Some(this), Some(next)) = (moments.get(control.next - 1), moments.get(control.next)) {
                due = Instant::now() + pause(this.at_micros, next.at_micros, control.speed);
            }
            continue;
        }
        if at_end && control.typing.is_none() && control.message.is_empty() {
            // The end of the timeline: what was asked for is shown.
            return Ok(());
        }
        status(&control, moments.len(), &mut out)?;
        let waits = at_end || control.paused || control.typing.is_some();
        let left = if waits { PAUSE_MAX } else { due.saturating_duration_since(Instant::now()) };
        for key in keys(left)? {
            if let Some(at) = control.press(key, moments) {
                show(moments, at, &mut out)?;
                control.next = at + 1;
                due = Instant::now();
            }
        }
    }
    Ok(())
}

fn show(moments: &[Moment], at: usize, out: &mut impl Write) -> io::Result<()> {
    out.write_all(NEW_LINE.as_bytes())?;
    if let Some(moment) = moments.get(at) {
        moment.write(out)?;
    }
    out.flush()
}

fn status(control: &Control, all: usize, out: &mut impl Write) -> io::Result<()> {
    let line = match &control.typing {
        Some(typed) => format!("/{}", timeline::clean(typed)),
        None => {
            let state = if control.paused { "paused" } else { "playing" };
            let message = &control.message;
            format!(
                "[{}/{all}, {state}, {}×] space: pause, +/-: speed, n: next, /: search, q: end  {message}",
                control.next, control.speed
            )
        }
    };
    write!(out, "{NEW_LINE}{line}")?;
    out.flush()
}

impl Control {
    /// Does what a key says; the moment that is to be shown at once, where one is.
    fn press(&mut self, key: Key, moments: &[Moment]) -> Option<usize> {
        if let Some(typed) = &mut self.typing {
            match key {
                Key::Char(c) => typed.push(c),
                Key::Backspace => drop(typed.pop()),
                Key::Escape => self.typing = None,
                Key::Stop => self.ended = true,
                Key::Enter => {
                    self.searched = self.typing.take().filter(|typed| !typed.is_empty()).unwrap_or_default();
                    return self.search(moments);
                }
                _ => {}
            }
            return None;
        }
        self.message.clear();
        match key {
            Key::Char(' ') => self.paused = !self.paused,
            Key::Char('+' | '=') | Key::Right => self.speed = (self.speed * 2.0).min(*SPEEDS.end()),
            Key::Char('-') | Key::Left => self.speed = (self.speed / 2.0).max(*SPEEDS.start()),
            Key::Char('n') | Key::Down => {
                self.paused = true;
                return (self.next < moments.len()).then_some(self.next);
            }
            Key::Char('/') => self.typing = Some(String::new()),
            Key::Char('N') => return self.search(moments),
            Key::Char('q') | Key::Escape | Key::Stop => self.ended = true,
            _ => {}
        }
        None
    }

    /// The next moment that says what is searched; the timeline is paused there.
    fn search(&mut self, moments: &[Moment]) -> Option<usize> {
        let found = moments.iter().skip(self.next).position(|moment| moment.contains(&self.searched));
        self.message = match found {
            Some(skipped) => format!("found after {skipped} others; N looks on"),
            None => format!("nothing more says {}", timeline::clean(&self.searched)),
        };
        self.paused = true;
        found.map(|skipped| self.next + skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_follow_the_recording_at_the_speed_and_are_never_long() {
        for (before, at, speed, millis) in [
            (0, 1_000_000, 1.0, 1000),
            (0, 1_000_000, 10.0, 100),
            (0, 1_000_000, 0.5, 2000),
            (0, 3_600_000_000, 1.0, 10_000),
            (5, 0, 1.0, 0),
            (0, i64::MAX, 0.0, 10_000),
        ] {
            assert_eq!(pause(before, at, speed), Duration::from_millis(millis), "{before} {at} {speed}");
        }
    }

    #[test]
    fn keys_are_read_from_what_terminals_send() {
        for (bytes, keys) in [
            (&b" +"[..], &[Key::Char(' '), Key::Char('+')][..]),
            (b"\x1b[C\x1b[D\x1b[B", &[Key::Right, Key::Left, Key::Down]),
            (b"\x1b[A", &[]),
            (b"\x1b", &[Key::Escape]),
            (b"\x03", &[Key::Stop]),
            ("/ä\r".as_bytes(), &[Key::Char('/'), Key::Char('ä'), Key::Enter]),
            (b"\x7f\xff", &[Key::Backspace, Key::Char('\u{fffd}')]),
        ] {
            assert_eq!(parse(bytes), keys, "{bytes:?}");
        }
    }

    #[test]
    fn keys_pause_change_the_speed_and_end() {
        let mut control = Control {
            speed: 1.0,
            paused: false,
            next: 0,
            typing: None,
            searched: String::new(),
            message: String::new(),
            ended: false,
        };
        let mut press = |code| control.press(code, &[]);
        assert_eq!(press(Key::Char(' ')), None);
        assert_eq!(press(Key::Char('+')), None);
        assert_eq!(press(Key::Char('n')), None, "there is no next one");
        for code in [Key::Char('/'), Key::Char('x'), Key::Char('y'), Key::Backspace, Key::Enter] {
            assert_eq!(press(code), None);
        }
        assert!(control.paused && control.typing.is_none());
        assert_eq!((control.speed, control.searched.as_str()), (2.0, "x"));
        assert!(control.message.contains("nothing more says x"));
        control.press(Key::Char('q'), &[]);
        assert!(control.ended);
    }
}
