//! Where tensors are computed: on the processor, or on the first NVIDIA GPU.
//!
//! A program that `cargo xtask cuda` has built loads NVIDIA's libraries when they are first used, so
//! that it starts on any machine. But candle panics where one of them is missing; so they are looked
//! for before candle is asked, and a GPU that cannot be used is an error like any other.

#[cfg(feature = "cuda")]
mod cuda;

use std::panic;

use candle_core::{DType, Device, Tensor};

/// A choice of device, as a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum DeviceChoice {
    /// The processor.
    Cpu,
    /// The first NVIDIA GPU; needs a build with the `cuda` feature.
    Cuda,
    /// The GPU if it can be used, else the processor.
    Auto,
}

/// Why there is no GPU to compute on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program has no code for GPUs.
    #[error(
        "--device cuda: this program was built without the `cuda` feature; build it with 'cargo xtask \
         cuda', or use --device cpu"
    )]
    NotBuilt,
    /// One of NVIDIA's libraries is missing, or does not load.
    #[error("--device cuda: {library} is not there ({why}); {install}, or use --device cpu")]
    Library {
        /// The file's name.
        library: &'static str,
        /// What the system says.
        why: String,
        /// How to get it.
        install: &'static str,
    },
    /// The driver is there, the GPU does not serve.
    #[error("--device cuda: the GPU cannot be used: {why}")]
    Unusable {
        /// What CUDA or candle says, and what to do where that is known.
        why: String,
    },
}

/// A library of NVIDIA's that is loaded at run time.
#[derive(Debug, Clone, Copy)]
struct Library {
    /// Names to try in turn. Those that cudarc tries, which loads it afterwards.
    names: &'static [&'static str],
    /// How to get it.
    install: &'static str,
}

/// What candle needs before it can make a device: driver, matrix products, random numbers.
const LIBRARIES: [Library; 3] = [
    Library { names: &["libcuda.so.1", "libcuda.so"], install: "install NVIDIA's driver" },
    Library {
        names: &["libcublas.so.13", "libcublas.so.12", "libcublas.so"],
        install: "install CUDA's libraries and name their folder in LD_LIBRARY_PATH",
    },
    Library {
        names: &["libcurand.so.10", "libcurand.so"],
        install: "install CUDA's libraries and name their folder in LD_LIBRARY_PATH",
    },
];

impl Library {
    /// Loads it, and lets it go again.
    ///
    /// # Errors
    /// [`Error::Library`] if none of its names can be loaded.
    fn load(self) -> Result<(), Error> {
        let mut why = String::new();
        for name in self.names {
            // SAFETY: loading runs the library's own start-up code. It is NVIDIA's, by the name that
            // the system's loader gives it, and candle would load the very same one next.
            match unsafe { libloading::Library::new(*name) } {
                Ok(_) => return Ok(()),
                // The first name is the one that a driver or a package installs.
                Err(error) if why.is_empty() => why = one_line(&error.to_string()),
                Err(_) => {}
            }
        }
        Err(Error::Library { library: self.names[0], why, install: self.install })
    }
}

impl DeviceChoice {
    /// The device.
    ///
    /// # Errors
    /// For [`DeviceChoice::Cuda`], why there is none.
    pub fn open(self) -> Result<Device, Error> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda => first_gpu(),
            Self::Auto => Ok(first_gpu().unwrap_or_else(|why| {
                log::info!("computing on the processor; {why}");
                Device::Cpu
            })),
        }
    }
}

fn first_gpu() -> Result<Device, Error> {
    // Asked for without the feature, candle would only say that it is not compiled in.
    if !cfg!(feature = "cuda") {
        return Err(Error::NotBuilt);
    }
    LIBRARIES.into_iter().try_for_each(Library::load)?;
    // cudarc panics where a driver lacks a function. The first kernel shows whether the driver takes
    // this program's code.
    let opened = quietly(|| {
        let device = Device::new_cuda(0)?;
        (Tensor::ones(1, DType::F32, &device)? * 2.0)?.to_vec1::<f32>()?;
        Ok::<_, candle_core::Error>(device)
    });
    let device = match opened {
        Ok(Ok(device)) => device,
        Ok(Err(error)) => return Err(Error::Unusable { why: explained(&error.to_string()) }),
        Err(panicked) => return Err(Error::Unusable { why: explained(&panicked) }),
    };
    #[cfg(feature = "cuda")]
    if let Device::Cuda(device) = &device {
        cuda::keep_memory(device);
    }
    Ok(device)
}

/// Runs `f`; a panic becomes its message and is not printed.
fn quietly<T>(f: impl FnOnce() -> T + panic::UnwindSafe) -> Result<T, String> {
    let before = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let result = panic::catch_unwind(f);
    panic::set_hook(before);
    result.map_err(|payload| {
        let text = payload.downcast_ref::<String>().cloned();
        text.or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string))
            .unwrap_or_else(|| "a panic without a message".to_owned())
    })
}

/// CUDA's message, with what to do where it is known.
fn explained(message: &str) -> String {
    let hint = if message.contains("UNSUPPORTED_PTX_VERSION") {
        "; the driver is older than this build's code: update it (530 or later)"
    } else if message.contains("NO_BINARY_FOR_GPU") || message.contains("INVALID_PTX") {
        "; this build is for newer GPUs: build again with --compute-cap"
    } else if message.contains("NO_DEVICE") {
        "; the driver sees no GPU: is one there, and is it passed into the container?"
    } else if message.contains("Missing symbol") {
        "; the driver or a CUDA library is too old: update it"
    } else {
        ""
    };
    format!("{}{hint}", one_line(message))
}

fn one_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// Bytes of memory that are free on the device; `None` for the processor.
pub fn free_memory(device: &Device) -> Option<u64> {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(device) = device {
        return cuda::free_memory(device);
    }
    let _ = device;
    None
}

/// Gives memory that no tensor is in back to the driver, for other processes.
pub fn release_memory(device: &Device) {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(device) = device {
        cuda::release_memory(device);
    }
    let _ = device;
}

/// The most memory that tensors on the device took at once since [`reset_peak_memory`], in bytes;
/// `None` for the processor. Comparable to PyTorch's `torch.cuda.max_memory_allocated`.
pub fn peak_memory(device: &Device) -> Option<u64> {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(device) = device {
        return cuda::peak_memory(device);
    }
    let _ = device;
    None
}

/// Starts [`peak_memory`] anew from what is in use now.
pub fn reset_peak_memory(device: &Device) {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(device) = device {
        cuda::reset_peak_memory(device);
    }
    let _ = device;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_missing_is_named_with_what_to_do() {
        let library = Library { names: &["libpavad-none.so.7"], install: "install it" };
        let message = library.load().unwrap_err().to_string();
        assert!(
            message.starts_with("--device cuda: libpavad-none.so.7 is not there ("),
            "{message}"
        );
        assert!(message.ends_with("); install it, or use --device cpu"), "{message}");
        // The C library is there under its second name here.
        Library { names: &["libpavad-none.so.7", "libc.so.6"], install: "" }.load().unwrap();
    }

    #[test]
    fn a_panic_becomes_its_message() {
        assert_eq!(quietly(|| 7), Ok(7));
        let name = "cuInit";
        let panicked = quietly(|| -> () { panic!("Missing symbol {name}\nand more") });
        let why = explained(&panicked.unwrap_err());
        assert!(why.starts_with("Missing symbol cuInit; the driver"), "{why}");
        assert_eq!(explained("CUDA_ERROR_UNKNOWN"), "CUDA_ERROR_UNKNOWN");
    }

    #[test]
    fn the_processor_is_always_there() {
        assert!(DeviceChoice::Cpu.open().unwrap().is_cpu());
        assert_eq!((free_memory(&Device::Cpu), peak_memory(&Device::Cpu)), (None, None));
        reset_peak_memory(&Device::Cpu);
        release_memory(&Device::Cpu);
        if let Err(error) = DeviceChoice::Cuda.open() {
            assert!(error.to_string().starts_with("--device cuda: "), "{error}");
            assert!(DeviceChoice::Auto.open().unwrap().is_cpu());
        }
    }
}
