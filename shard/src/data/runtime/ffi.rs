//! The one unsafe file of the gateway: what glommio 0.9 leaves no safe way for.
//!
//! First, `IORING_SETUP_COOP_TASKRUN` on every ring that glommio makes. Stock glommio 0.9 sets its rings up without the flag, and the kernel then interrupts the shard's
//! core for every completion: an interrupt storm that triples the CPU cost of a small message. The
//! linker's `--wrap` (see `build.rs`) sends liburing's set-up call here, so no fork is needed. With
//! IOPOLL the flag is left alone, since such rings have no completions to signal. Second, a glommio
//! listener made from a socket whose options and whose end are ours; a stream made from a descriptor
//! that another shard accepted. Third, one system call that writes several parts of memory.
#![allow(unsafe_code)]

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use socket2::{SockRef, Socket};

/// `IORING_SETUP_IOPOLL`, io_uring_setup(2).
const IOPOLL: u32 = 1 << 0;
/// `IORING_SETUP_COOP_TASKRUN`, io_uring_setup(2), since Linux 5.19.
const COOP_TASKRUN: u32 = 1 << 8;

static RINGS_WITH_FLAG: AtomicU32 = AtomicU32::new(0);

/// How many rings of this process were set up with `IORING_SETUP_COOP_TASKRUN`.
#[must_use]
pub fn rings_with_flag() -> u32 {
    RINGS_WITH_FLAG.load(Ordering::Relaxed)
}

/// The head of the kernel's `struct io_uring_params`; the rest is the kernel's and liburing's.
#[repr(C)]
struct ParamsHead {
    sq_entries: u32,
    cq_entries: u32,
    flags: u32,
}

/// Stands in for liburing's `__sys_io_uring_setup`, with its meaning: a descriptor, or -1 and errno.
///
/// # Safety
/// `params` must point to a whole, writable `struct io_uring_params`, as liburing's callers do.
// SAFETY: the name is the linker's `--wrap` name of one liburing function with this very signature,
// and nothing else in the program defines it.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap___sys_io_uring_setup(entries: libc::c_uint, params: *mut ParamsHead) -> libc::c_int {
    // SAFETY: the caller passes a valid `struct io_uring_params`, whose first 12 bytes are these
    // three fields (kernel UAPI, never reordered). Only `flags` is touched, before the kernel sees it.
    let flagged = unsafe {
        let wanted = (*params).flags & IOPOLL == 0;
        if wanted {
            (*params).flags |= COOP_TASKRUN;
        }
        wanted
    };
    // SAFETY: io_uring_setup(2) with the caller's own arguments.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, entries, params) };
    if fd >= 0 && flagged {
        RINGS_WITH_FLAG.fetch_add(1, Ordering::Relaxed);
    }
    libc::c_int::try_from(fd).unwrap_or(-1)
}

/// A glommio listener that owns `socket`.
pub(super) fn listener_from(socket: Socket) -> glommio::net::TcpListener {
    // SAFETY: `into_raw_fd` gives up the only owner of the descriptor, and the listener becomes it.
    unsafe { glommio::net::TcpListener::from_raw_fd(socket.into_raw_fd()) }
}

/// A glommio stream that owns `descriptor`, a connected socket, on this thread's executor.
pub(super) fn stream_from(descriptor: OwnedFd) -> glommio::net::TcpStream {
    // SAFETY: `into_raw_fd` gives up the only owner of the descriptor, and the stream becomes it.
    unsafe { glommio::net::TcpStream::from_raw_fd(descriptor.into_raw_fd()) }
}

/// A second descriptor of the stream's socket.
pub(super) fn duplicate(stream: &glommio::net::TcpStream) -> io::Result<OwnedFd> {
    borrow(stream).try_clone_to_owned()
}

/// Writes what the socket takes of `parts` at once, with one system call; `WouldBlock` where it takes
/// nothing.
pub(super) fn send_vectored(stream: &glommio::net::TcpStream, parts: &[IoSlice<'_>]) -> io::Result<usize> {
    SockRef::from(&borrow(stream)).send_vectored_with_flags(parts, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
}

fn borrow(stream: &glommio::net::TcpStream) -> BorrowedFd<'_> {
    // SAFETY: the stream owns the descriptor and keeps it open for as long as it is borrowed.
    unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) }
}
