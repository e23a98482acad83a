/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */
/* tcc_fuse.h: compile tensor programs and call them, from C or C++.
 *
 *   tcf_session *s;
 *   tcf_program *p;
 *   tcf_session_new(NULL, &s);
 *   if (tcf_program_load_file(s, "softmax.tdsl", &p)) puts(tcf_session_message(s));
 *   tcf_function *f = tcf_program_function(p, "softmax");
 *   if (!f) puts(tcf_session_message(s));
 *
 *   int64_t dims[2] = {64, 1000};
 *   tcf_tensor *x, *y = NULL;
 *   tcf_tensor_borrow(s, TCF_F32, 2, dims, NULL, my_floats, &x);
 *   if (tcf_call(f, (const tcf_tensor *const[]){x}, 1, &y, 1)) puts(tcf_session_message(s));
 *
 * Rules that hold everywhere
 *   - Nothing here prints, exits, or changes process-wide state. There are no global variables:
 *     everything belongs to a session.
 *   - A session and what comes from it is used by one thread at a time; sessions are independent.
 *     A function that is called while another one is inside of the session, on another thread or
 *     from a callback, is TCF_WRONG_USE (NULL, nothing for those without a status), and leaves the
 *     message to the other. Functions on tensors and files, which want a session for their message
 *     only, do without one then.
 *   - A pointer that is NULL where something is needed is TCF_WRONG_USE; where there is no status
 *     the answer is 0, NULL or nothing.
 *   - Nothing depends on the locale, the rounding mode, traps, or flush-to-zero of the calling
 *     thread: they are as they were when a function returns. Callbacks and host functions run in the default modes (with TCF_FLUSH_DENORMALS: that).
 *   - Threads of a session block all signals that are not of their own doing. Writing never raises
 *     SIGXFSZ or SIGPIPE: it is TCF_NO_FILE.
 *   - The working directory is looked at when a path is given; the environment when it is needed:
 *     XDG_CACHE_HOME and HOME for the cache, TMPDIR, PATH and CUDA_HOME for programs that are run,
 *     TCF_CUDA_LIBRARY and TCF_CUDA_SYNC for devices.
 *   - The child of a fork may use and free what it has of its parent, if no other thread was inside
 *     of the library then: sessions start threads anew when they need them. (A session that was in
 *     use can be neither used nor freed there.) CUDA does not work in children: calls of sessions
 *     with a device that was opened are TCF_UNAVAILABLE, and freeing them leaves the device alone.
 *   - Functions that can fail return a tcf_status; tcf_session_message() then says why, and the
 *     diagnostics callback has received positions. Output arguments are set only on TCF_OK.
 *   - What `_new`, `_load`, `_borrow` or an output argument gives must be given back with the
 *     matching `_free`. Free functions take NULL. Strings returned as `const char *` belong to the
 *     object asked and live as long as it does, unless said otherwise.
 *   - Sizes are numbers of elements, strides are bytes, both int64_t.
 *   - What parses or compiles (loading, formatting, emitting, explaining, building, the first call
 *     for new sizes) needs 1 MB of stack, and is TCF_NO_MEMORY on a thread that has less left.
 *     Calls of what is compiled do not.
 *   - Running out of memory is TCF_NO_MEMORY, with one exception: LLVM, which makes the code, ends
 *     the process when an allocation inside of it fails. Before it is entered 96 MB are asked for
 *     and given back, so that a limit on address space or strict accounting is TCF_NO_MEMORY for
 *     code that needs no more; very large programs need more.
 */
#ifndef TCC_FUSE_H
#define TCC_FUSE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define TCF_API __attribute__((visibility("default")))
#else
#define TCF_API
#endif

#define TCF_VERSION_MAJOR 0
#define TCF_VERSION_MINOR 1
#define TCF_VERSION_PATCH 0

enum { TCF_MAX_RANK = 16 }; /* axes of a tensor */

/* ---- Status ---------------------------------------------------------------------------------- */

typedef enum tcf_status {
  TCF_OK = 0,
  TCF_WRONG_PROGRAM, /* the source is wrong; diagnostics say where */
  TCF_WRONG_USE,     /* the call is wrong: an unknown name, a size or type that does not fit */
  TCF_WRONG_DATA,    /* found while running: an index out of range, a failed host function */
  TCF_NO_FILE,       /* a file or directory is missing, unreadable or unwritable */
  TCF_BAD_FILE,      /* a file is damaged or not of its format */
  TCF_NO_MEMORY,     /* or too little stack to compile on */
  TCF_UNAVAILABLE,   /* a target or feature that this build or machine does not have */
  TCF_INTERNAL       /* a bug in tcc-fuse; the message says where */
} tcf_status;

/** "wrong program", "out of memory", ... Static. */
TCF_API const char *tcf_status_name(tcf_status status);

/** "0.1.0". Static. */
TCF_API const char *tcf_version(void);

/* ---- Sessions -------------------------------------------------------------------------------- */

typedef struct tcf_session tcf_session;
typedef struct tcf_program tcf_program;
typedef struct tcf_function tcf_function;
typedef struct tcf_tensor tcf_tensor;

typedef enum tcf_severity { TCF_ERROR, TCF_WARNING, TCF_NOTE } tcf_severity;

/** One diagnostic. Everything in it lives until the callback returns. */
typedef struct tcf_diagnostic {
  tcf_severity severity;
  int code;            /* 210 is E0210; 0: none */
  const char *file;    /* NULL: no position */
  int line, column;    /* from 1; columns count characters, not bytes */
  const char *message; /* one line */
  const char *text;    /* rendered in full: position, source line, caret, notes, fixes */
} tcf_diagnostic;

typedef void (*tcf_diagnostic_callback)(void *user, const tcf_diagnostic *diagnostic);

/** Runs `task(args, begin, end, worker)` for ranges that together are [0, n), each tile once, and
 *  returns when all have returned. 0 <= worker < threads of the session; no two ranges run with
 *  the same worker number at the same time. Any order, any split. */
typedef void (*tcf_task)(void *args, int64_t begin, int64_t end, int32_t worker);
typedef void (*tcf_parallel_for)(void *user, tcf_task task, void *args, int64_t n);

enum {
  /** Floating point results do not depend on the number of threads. */
  TCF_DETERMINISTIC = 1,
  /** Rewrites that change rounding (reassociation, reciprocals) are allowed. */
  TCF_FAST_MATH = 2,
  /** Indices of gathers and scatters are not tested: out of range is undefined behaviour. */
  TCF_UNCHECKED = 4,
  /** Denormal operands and results count as zero while compiled code runs. */
  TCF_FLUSH_DENORMALS = 8,
  /** Diagnostics are rendered with ANSI colours. */
  TCF_COLOR = 16,
  /** Schedules by trial: the first call or tcf_prepare for new sizes or strides times alternatives to
   *  what the cost model chose, on its arguments, and keeps the fastest whose results agree, in the
   *  session and in the cache directory. Later compilations of the same take it, with this flag or
   *  without. It takes seconds to minutes. Items of `schedule` stay as they are. */
  TCF_AUTOTUNE = 32,
  /** `dot` of f32 may run on tensor cores, its factors rounded to 10 bits of fraction (tf32). GPUs. */
  TCF_TF32 = 64,
  /** Under `fuse stream`, roundings to 16 bits stay where the program has them: what is summed is not
   *  rounded before a factor that the program has before the rounding, and none drops out. */
  TCF_EXACT_CASTS = 128,
  /** Streamed kernels without one of the rules of docs/contracts.md: they take more walks then. */
  TCF_NO_SCALES = 256,
  TCF_NO_LATE_FACTORS = 512,
  TCF_NO_EXPONENTS = 1024,
  TCF_NO_FRAMES = 2048,
  TCF_NO_MOMENT_SHIFT = 4096,
  TCF_NO_EXCESS_PRECISION = 8192,
  TCF_NO_CONSTANT_FACTORS = 16384,
  TCF_NO_FREE_SHIFTS = 32768,
  TCF_NO_STANDS_FOR_INFINITY = 65536,
  TCF_NO_CAPS = 131072,
  TCF_NO_TERMS = 262144,
  TCF_NO_ORDER = 524288,
  /** On GPUs, blocks may add sums of gradients up in memory as they come, where that saves products:
   *  such results differ in their last bits from call to call. Not with TCF_DETERMINISTIC. */
  TCF_UNORDERED_SUMS = 1048576
};

/** A schedule that was tried; the last one is what is kept. Everything in it lives until the callback
 *  returns. */
typedef struct tcf_trial {
  const char *function;
  int number;           /* 0: the cost model's choice; of the last one: how many were tried */
  const char *schedule; /* items beyond those of the options; "" for 0 */
  double seconds;       /* median of a call; 0: it did not come to that */
  double best_seconds;  /* of the schedule that is the best so far */
  const char *outcome;  /* "taken", "slower", "its results differ", ..., "kept" */
} tcf_trial;
typedef void (*tcf_trial_callback)(void *user, const tcf_trial *trial);

/** Zero-initialise (`tcf_options o = {0}; o.size = sizeof o;`); zero means the default. */
typedef struct tcf_options {
  size_t size;        /* sizeof(tcf_options), so that the struct can grow */
  const char *target; /* "cpu" (default), "cpu:NAME" (an LLVM CPU), "cuda" or "cuda:N" (NVIDIA
                         device 0 or N), "cuda:sm_90a" (code for that architecture to look at,
                         without a device), "interp" (the graph interpreter), "interp-tile" (the
                         tile interpreter, for testing) */
  int threads;        /* 0: the CPUs this process may use; fewer than 0 is TCF_WRONG_USE */
  unsigned flags;     /* TCF_DETERMINISTIC | ... */
  /** Directory of compiled objects. NULL: $XDG_CACHE_HOME/tcc-fuse, else ~/.cache/tcc-fuse, or no
   *  cache when neither can be written; "": no cache on disk. Processes may share it. A directory
   *  named here that cannot be made or written fails the first call that compiles, TCF_NO_FILE. */
  const char *cache_dir;
  uint64_t cache_bytes; /* its size limit; 0: 512 MiB */
  tcf_diagnostic_callback diagnostic;
  void *diagnostic_user;
  /** NULL: the session's own threads, started when first needed. */
  tcf_parallel_for parallel_for;
  void *parallel_user;
  /** Schedule overrides "key=value,...", for experiments; NULL: the cost model decides. */
  const char *schedule;
  /** With TCF_AUTOTUNE: told of each trial. It calls nothing here. */
  tcf_trial_callback trial;
  void *trial_user;
  /** What the intermediate results of a call may take: bytes ("536870912", "512MiB", "1.5GB"), or the share of the way
   *  from the least that a plan needs to what it is without a budget ("0.5"). Gradients then compute values again
   *  (docs/recomputation.md); all sizes must be known. Where that is not enough, compiling is
   *  TCF_WRONG_PROGRAM (E0276). NULL: none. */
  const char *memory_budget;
  /** Plans for gradients count as equally fast within this share of the time, and the one that takes the least
   *  memory is taken; with a budget, the fastest is. 0: 0.01; below 0: none. */
  double recompute_slack;
} tcf_options;

/** options NULL: all defaults. On failure (no memory, a bad target name, unknown flags, a bad size field)
 *  *session is not set, so there is nothing to ask for the message: of a bad target and of flags the
 *  `diagnostic` callback of the options says what is wrong, without position and code. */
TCF_API tcf_status tcf_session_new(const tcf_options *options, tcf_session **session);
/** Frees the session and all its programs; tensors are independent and stay. Nothing happens while a
 *  call is inside of it. */
TCF_API void tcf_session_free(tcf_session *session);
/** Why the last failing function of this session failed; "" before. Lives until the next one. */
TCF_API const char *tcf_session_message(const tcf_session *session);
/** All diagnostics of the last load, as a JSON array. Lives until the next load. */
TCF_API const char *tcf_session_diagnostics_json(tcf_session *session);

/* ---- Tensors --------------------------------------------------------------------------------- */

typedef enum tcf_dtype {
  TCF_F64,
  TCF_F32,
  TCF_F16,
  TCF_BF16,
  TCF_I64,
  TCF_I32,
  TCF_I16,
  TCF_I8,
  TCF_U8,
  TCF_BOOL,
  TCF_U64,
  TCF_U32,
  TCF_U16
} tcf_dtype;

/** Bytes of an element: f16 and bf16 are 2 (as uint16_t), bool is 1 (0 or 1). */
TCF_API size_t tcf_dtype_size(tcf_dtype type);
/** "f32". Static. */
TCF_API const char *tcf_dtype_name(tcf_dtype type);

/** A tensor with memory of its own, row-major, 64-byte aligned; its elements are unspecified.
 *  session: receives the message on failure; may be NULL. */
TCF_API tcf_status tcf_tensor_new(tcf_session *session, tcf_dtype type, int rank,
                                  const int64_t *dims, tcf_tensor **tensor);
/** A tensor over the caller's memory, which must outlive it. strides NULL: row-major without gaps;
 *  else bytes per step of each axis: any value, 0 and negative ones too. `data` is the address of
 *  element (0, 0, ...). */
TCF_API tcf_status tcf_tensor_borrow(tcf_session *session, tcf_dtype type, int rank,
                                     const int64_t *dims, const int64_t *strides, void *data,
                                     tcf_tensor **tensor);
TCF_API void tcf_tensor_free(tcf_tensor *tensor);

TCF_API tcf_dtype tcf_tensor_dtype(const tcf_tensor *tensor);
TCF_API int tcf_tensor_rank(const tcf_tensor *tensor);
TCF_API const int64_t *tcf_tensor_dims(const tcf_tensor *tensor);    /* rank entries */
TCF_API const int64_t *tcf_tensor_strides(const tcf_tensor *tensor); /* rank entries, bytes */
TCF_API void *tcf_tensor_data(const tcf_tensor *tensor);
TCF_API int64_t tcf_tensor_elements(const tcf_tensor *tensor);
/** Element number i in row-major order, 0 <= i < elements, as a double (i64 and u64 may round); NaN
 *  beyond them. */
TCF_API double tcf_tensor_get(const tcf_tensor *tensor, int64_t i);
/** The same of an integer or bool tensor, exactly: of u64 the int64_t with the same bits. 0 of a
 *  float tensor, and beyond the elements. */
TCF_API int64_t tcf_tensor_get_integer(const tcf_tensor *tensor, int64_t i);

/** Standard normal for float types; integers uniform in [0, 8), bool a fair coin. The element at a
 *  position depends on the seed and the position alone. */
TCF_API void tcf_tensor_fill_random(tcf_tensor *tensor, uint64_t seed);
/** Uniform in [low, high). */
TCF_API void tcf_tensor_fill_uniform(tcf_tensor *tensor, uint64_t seed, double low, double high);
TCF_API void tcf_tensor_fill(tcf_tensor *tensor, double value);
/** 0, 1, 2 ... in row-major order. */
TCF_API void tcf_tensor_fill_iota(tcf_tensor *tensor);

typedef struct tcf_difference {
  int64_t elements;
  int64_t failed; /* elements outside the tolerance */
  int64_t worst;  /* row-major number of the worst element; -1: all are equal */
  double got, wanted;
  double max_abs, max_rel;
  double max_ulp; /* units in the last place of the type at the wanted value; floats only */
  double scale;   /* largest finite |wanted| */
  int64_t nan, infinite; /* elements that are NaN, or the same infinity, in both: equal, but nothing
                            is known of how exact they would be */
} tcf_difference;

/** An element is within the tolerance when |got - wanted| <= tolerance * max(|wanted|, scale), NaN
 *  meets NaN, or infinity meets the same infinity. Integers and bool: tolerance 0 asks for
 * equality. TCF_WRONG_USE when types or sizes differ. */
TCF_API tcf_status tcf_tensor_compare(tcf_session *session, const tcf_tensor *got,
                                      const tcf_tensor *wanted, double tolerance,
                                      tcf_difference *difference);

/* ---- Devices ---------------------------------------------------------------------------------
 *
 * With target "cuda" a call runs on that device, in its primary context, which it shares with the
 * rest of the process. Arguments and results may be in the memory of the host or of the device, in
 * any mixture: tensors of the host are copied to the device and back, tensors of the device are used
 * in place. Code wants the first element at a multiple of 16 bytes; where a tensor of the device
 * has it elsewhere the call works on a copy. A result left to the call (NULL) is made on the
 * device when some argument is there, else on the host.
 *
 * A call returns when its results in host memory are there. When all tensors are the device's it
 * returns when the work has been started on the session's stream, unless the function checks
 * indices: then it waits, to report them. The session's stream is ordered with the legacy default
 * stream; before other streams or other sessions use results, call tcf_synchronize, or use
 * tcf_call_on_stream. Functions here that read a tensor wait as they must. */

typedef struct tcf_device_info {
  size_t size;     /* set before asking, as in tcf_options */
  char name[128];  /* "NVIDIA H200" */
  char arch[16];   /* what code is made for: "sm_90a" */
  int ordinal;     /* -1: an architecture without a device; what follows is then typical of it */
  int multiprocessors;
  int64_t memory_bytes, l2_bytes, shared_bytes; /* shared: of a block. memory 0: unknown */
  double bytes_per_second;                      /* of memory; what the cost model goes by */
  double flops_per_second;                      /* f32 multiply-adds, 2 each */
  double tensor_flops_per_second;               /* f16, bf16 */
  double start_seconds;                         /* that the driver took for this session to start */
  double kernel_seconds;                        /* and, so far, to compile and load kernels */
} tcf_device_info;

/** What the session runs on; opens it. TCF_UNAVAILABLE: no driver, no device, or the target is not
 *  "cuda...". */
TCF_API tcf_status tcf_session_device(tcf_session *session, tcf_device_info *info);

/** As tcf_tensor_new and tcf_tensor_borrow, with memory of the session's device; data is a device
 *  address. The functions on tensors (fill, get, compare, files) work on them too, by way of the
 *  host. The tensor may outlive the session. */
TCF_API tcf_status tcf_tensor_new_device(tcf_session *session, tcf_dtype type, int rank,
                                         const int64_t *dims, tcf_tensor **tensor);
TCF_API tcf_status tcf_tensor_borrow_device(tcf_session *session, tcf_dtype type, int rank,
                                            const int64_t *dims, const int64_t *strides,
                                            void *data, tcf_tensor **tensor);
/** The ordinal of the device whose memory it is; -1: the host's. */
TCF_API int tcf_tensor_device(const tcf_tensor *tensor);
/** Copies the elements between any two tensors of one type and one shape that do not share memory.
 *  On one device the copy is started, in the order of the session's stream; with the host on one
 *  side it has happened when this returns. */
TCF_API tcf_status tcf_tensor_copy(tcf_session *session, tcf_tensor *to, const tcf_tensor *from);

/** DLPack, the exchange of tensors between libraries: struct DLManagedTensor of its stable ABI, the
 *  unversioned one ("dltensor" capsules of Python); memory of kDLCPU, kDLCUDA and kDLCUDAHost.
 *  tcf_tensor_from_dlpack takes `managed` over: the tensor's end calls its deleter. Memory of a CUDA
 *  device must be of the session's. TCF_WRONG_USE when type or device have no counterpart; `managed`
 *  then stays the caller's. */
struct DLManagedTensor;
TCF_API tcf_status tcf_tensor_from_dlpack(tcf_session *session, struct DLManagedTensor *managed,
                                          tcf_tensor **tensor);
/** Takes the tensor over: the deleter of *managed frees it. Waits for the session's work on it. */
TCF_API tcf_status tcf_tensor_to_dlpack(tcf_session *session, tcf_tensor *tensor,
                                        struct DLManagedTensor **managed);

/** Times of `runs` calls with tensors of the device, each measured there, between two events.
 *  results are given. cold: before each call, outside the time, so much memory is written that
 *  nothing of the tensors is in the device's cache. seconds: `runs` entries, in order. */
TCF_API tcf_status tcf_device_time(tcf_function *function, const tcf_tensor *const *args,
                                   size_t nargs, tcf_tensor *const *results, size_t nresults,
                                   int cold, size_t runs, double *seconds);
/** What copying reaches on the device: bytes read and written per second, where `bytes` is both
 *  together; the median of several copies, cold as above. */
TCF_API tcf_status tcf_device_copy_rate(tcf_session *session, int64_t bytes, int cold,
                                        double *bytes_per_second);

/** What the device's compiler made of a kernel. */
typedef struct tcf_kernel_usage {
  const char *name; /* lives as long as the function */
  int threads, registers;
  int spilled_bytes; /* per thread: spills and stack */
  int shared_bytes;
  int blocks_per_multiprocessor; /* that fit at once */
} tcf_kernel_usage;
/** Kernel i of the variant that runs these arguments, compiled when it is not yet. TCF_WRONG_USE when
 *  there is no kernel i. */
TCF_API tcf_status tcf_function_kernel(tcf_function *function, const tcf_tensor *const *args,
                                       size_t nargs, size_t i, tcf_kernel_usage *usage);

/* ---- Array files ----------------------------------------------------------------------------- */

/** Reads a .npy file (versions 1 to 3, either byte order, either storage order); "-" is standard
 *  input. */
TCF_API tcf_status tcf_npy_load(tcf_session *session, const char *path, tcf_tensor **tensor);

/** Several named arrays in one file: .npz or .safetensors, by the ending of the path. */
typedef struct tcf_archive tcf_archive;
TCF_API tcf_status tcf_archive_open(tcf_session *session, const char *path, tcf_archive **archive);
TCF_API void tcf_archive_free(tcf_archive *archive);
TCF_API size_t tcf_archive_count(const tcf_archive *archive);
TCF_API const char *tcf_archive_name(const tcf_archive *archive, size_t i);
/** Reads one array; TCF_WRONG_USE when there is none of that name. */
TCF_API tcf_status tcf_archive_load(tcf_session *session, tcf_archive *archive, const char *name,
                                    tcf_tensor **tensor);

/** A tensor, or bytes, and the file it goes to. */
typedef struct tcf_output {
  const char *path;         /* "-": standard output */
  const char *name;         /* a member of a .npz or .safetensors, by the ending of the path; NULL:
                               the file is a .npy */
  const tcf_tensor *tensor; /* NULL: the file is these bytes */
  const void *data;
  size_t size;
} tcf_output;
/** Writes `count` outputs to their files: each file whole and all of them, or none, and what was
 *  there before stays, also when a signal ends the process meanwhile. Nothing else is left then
 *  either, but on file systems that have no unnamed files (O_TMPFILE), where signals that end the
 *  process wait on this thread until temporary files are removed. Members of one archive are written to it together. Standard output, pipes
 *  and devices are written when all files are. TCF_WRONG_USE when two outputs go to one file. */
TCF_API tcf_status tcf_save(tcf_session *session, const tcf_output *outputs, size_t count);

/* ---- Programs and functions ------------------------------------------------------------------ */

/** Parses and checks a program: source text in the language, or IR text of the graph or tile level
 *  (recognised by its first word: `graph`, `fused`, `program`, `kernel`). "-" is standard input.
 * Imports are found relative to the importing file. */
TCF_API tcf_status tcf_program_load_file(tcf_session *session, const char *path,
                                         tcf_program **program);
/** The same from memory; `name` stands for the path in messages and for imports. The text is
 *  copied. */
TCF_API tcf_status tcf_program_load(tcf_session *session, const char *name, const char *text,
                                    size_t size, tcf_program **program);
/** Frees the program, its functions, and code compiled for them. */
TCF_API void tcf_program_free(tcf_program *program);

/** Functions whose signature is concrete, in source order. They belong to the program. */
TCF_API size_t tcf_program_count(const tcf_program *program);
TCF_API tcf_function *tcf_program_at(const tcf_program *program, size_t i);
/** 1 when the program was read from tile IR: it has no graph to print or explain. */
TCF_API int tcf_program_is_tile(const tcf_program *program);
/** NULL when there is no such function; tcf_session_message() then names those there are. Calls with
 *  a NULL function are TCF_WRONG_USE. */
TCF_API tcf_function *tcf_program_function(const tcf_program *program, const char *name);

/** A parameter or result. */
typedef struct tcf_value_info {
  const char *name;
  tcf_dtype dtype;
  int rank;
  const char *axes[TCF_MAX_RANK];  /* names, in storage order */
  const char *sizes[TCF_MAX_RANK]; /* "64", "N", "2*N + 1" */
} tcf_value_info;

TCF_API const char *tcf_function_name(const tcf_function *function);
TCF_API size_t tcf_function_params(const tcf_function *function);
TCF_API size_t tcf_function_results(const tcf_function *function);
TCF_API tcf_status tcf_function_param(const tcf_function *function, size_t i, tcf_value_info *info);
TCF_API tcf_status tcf_function_result(const tcf_function *function, size_t i,
                                       tcf_value_info *info);
/** Size symbols of the signature in order of appearance. */
TCF_API size_t tcf_function_symbols(const tcf_function *function);
TCF_API const char *tcf_function_symbol(const tcf_function *function, size_t i);

/** A value for a size symbol. */
typedef struct tcf_size {
  const char *name;
  int64_t value;
} tcf_size;

/** The sizes of parameter i (dims: TCF_MAX_RANK entries) under the given symbols. TCF_WRONG_USE
 *  naming the symbol when one is missing. */
TCF_API tcf_status tcf_function_param_dims(const tcf_function *function, size_t i,
                                           const tcf_size *sizes, size_t nsizes, int64_t *dims);

/** The same of result i. */
TCF_API tcf_status tcf_function_result_dims(const tcf_function *function, size_t i,
                                            const tcf_size *sizes, size_t nsizes, int64_t *dims);

/** Compiled code is made for the sizes it is called with; a symbol kept symbolic is a run-time
 *  argument instead, so that calls which differ in it share one variant. Default: not kept. */
TCF_API tcf_status tcf_function_keep_symbolic(tcf_function *function, const char *symbol, int keep);

/* ---- Calling --------------------------------------------------------------------------------- */

/** Calls the function. args: one tensor per parameter, of its element type and rank, with any
 *  strides; sizes bind the size symbols, and a conflict is an error naming both arguments.
 *  results[i] NULL: a new tensor, to be freed by the caller; else a tensor of the right type and
 *  sizes that receives the elements (any strides; it may share memory with arguments).
 *  The first call for new sizes or strides compiles, or loads from the disk cache.
 *  Errors: TCF_WRONG_USE (arguments), TCF_WRONG_DATA (index out of range, with its position),
 *  TCF_NO_MEMORY, TCF_UNAVAILABLE. Until a call returns, and after an error, the contents of given
 *  results are unspecified. */
TCF_API tcf_status tcf_call(tcf_function *function, const tcf_tensor *const *args, size_t nargs,
                            tcf_tensor **results, size_t nresults);

/** The same in the order of `stream`, a CUstream or cudaStream_t of the session's device (NULL: the
 *  legacy default stream), without waiting for anything. Arguments and given results are tensors
 *  of the device; results[i] NULL: a new one, to be used in the order of the stream. Failed index
 *  checks are reported by the tcf_synchronize that follows. A stream that is being captured takes the
 *  call's kernels into its graph; results are given then, and memory is aligned to 16 bytes.
 *  TCF_WRONG_USE when the target is no CUDA device. */
TCF_API tcf_status tcf_call_on_stream(tcf_function *function, const tcf_tensor *const *args,
                                      size_t nargs, tcf_tensor **results, size_t nresults,
                                      void *stream);

/** Waits for all calls of the session that were started on its device, then reports errors that
 *  they left: TCF_WRONG_DATA with a position for an index out of range (the first that is found;
 *  others are forgotten), TCF_UNAVAILABLE for one of the driver. Does nothing for CPUs. */
TCF_API tcf_status tcf_synchronize(tcf_session *session);

/** Compiles for these arguments without running. */
TCF_API tcf_status tcf_prepare(tcf_function *function, const tcf_tensor *const *args, size_t nargs);

/** How far result i may be from the exact value for tcf_tensor_compare, from the rounding of
 *  each operation on the way (docs/numerics.md has the rules); 0 for integers and bool. */
TCF_API tcf_status tcf_function_tolerance(tcf_function *function, const tcf_tensor *const *args,
                                          size_t nargs, size_t result, double *tolerance);
/** *exact: no rounding can change result i, for no operation on floats but minima, maxima and
 *  conversions, and no float constant, lies on the way. Integers made of other floats are not exact:
 *  where one is near a boundary, its last roundings decide. */
TCF_API tcf_status tcf_function_is_exact(tcf_function *function, const tcf_tensor *const *args,
                                         size_t nargs, size_t result, int *exact);

/** What one call costs at these sizes, counted on the fused kernels. */
typedef struct tcf_cost {
  double bytes_read, bytes_written;
  double flops;
  int kernels;
} tcf_cost;
TCF_API tcf_status tcf_function_cost(tcf_function *function, const tcf_tensor *const *args,
                                     size_t nargs, tcf_cost *cost);

/* ---- Gradients: forward and backward apart ---------------------------------------------------- */

/** Zero-initialise and set size. */
typedef struct tcf_split_options {
  size_t size;
  const char *const
      *wrt; /* parameters that gradients are wanted for, in the order of the results of
                             *backward; NULL: all floats, in their order */
  size_t nwrt;
  const tcf_size
      *sizes; /* symbols that are constants in both functions: what is saved is decided for
                            these; others count as 1024 then */
  size_t nsizes;
} tcf_split_options;

/** The two halves of a training step whose loop is the host's. From a function f, which takes x, w ... and
 *  returns y ...:
 *
 *    *forward   takes what f takes; returns what f returns, then what it saves for *backward
 *    *backward  takes some of the parameters, results and saved values of *forward, which have their names
 *               there, then the derivative for each float result of f as `d_RESULT` (f32; f64 of f64);
 *               returns `d_x` for each x of wrt, with the axes of x (f32; f64 of f64)
 *
 *  What *backward does not find saved it computes again, as in a function with `grad` (docs/gradients.md);
 *  `keep`, `checkpoint`, `stop` and `vjp` mean what they mean there, and random values are the same bits.
 *  Of parameters *backward takes those that it reads, or needs the sizes of; of results those that it
 *  reads, which are not saved once more. Which values these are depends on the session's target and flags.
 *
 *  options NULL: the default. The functions are called f_forward and f_backward and belong to a program of
 *  their own (tcf_function_program), which is freed with that of f, or before by tcf_program_free.
 *  TCF_WRONG_USE: f is of tile IR or fused, has no float result, or a parameter or result that is called
 *  as a derivative is; a name of wrt is no parameter, not of a float, or given twice. TCF_WRONG_PROGRAM,
 *  with diagnostics: something on the way has no derivative (E0270), or a contract does not hold. A
 *  gradient that is zero, for no result depends on its parameter, is a warning (W0803). */
TCF_API tcf_status tcf_function_split(tcf_function *function, const tcf_split_options *options,
                                      tcf_function **forward, tcf_function **backward);
/** Results *first to *first + *count - 1 of a *forward are what it saves. Of other functions none are. */
TCF_API tcf_status tcf_function_saved(const tcf_function *forward, size_t *first, size_t *count);
/** What the function belongs to. */
TCF_API tcf_program *tcf_function_program(const tcf_function *function);

/* ---- Host functions -------------------------------------------------------------------------- */

/** A host function for `extern fn`: reads in[0 .. nin), writes *out, whose type and sizes are set
 *  and whose memory is row-major. Nonzero stops the call with TCF_WRONG_DATA. The tensors live
 *  until it returns. */
typedef int (*tcf_host_function)(void *user, const tcf_tensor *const *in, size_t nin,
                                 tcf_tensor *out);
TCF_API tcf_status tcf_register_extern(tcf_session *session, const char *name,
                                       tcf_host_function function, void *user);

/** A plain C function instead, called through libffi. The signature says what it takes:
 *
 *    "(f32[N, D], f32[D]) -> f32[N]"
 *    int32_t f(const float *x, const float *w, float *out, int64_t N, int64_t D);
 *
 *  pointers to row-major elements, the result's last, then one int64_t per symbol in order of
 *  appearance; 0 is success. TCF_WRONG_USE when the signature cannot be read. */
TCF_API tcf_status tcf_register_extern_c(tcf_session *session, const char *name,
                                         void (*function)(void), const char *signature);

/* ---- Looking inside -------------------------------------------------------------------------- */

typedef enum tcf_stage {
  TCF_STAGE_GRAPH, /* graph IR as the front end made it */
  TCF_STAGE_FUSED, /* after the passes, in kernels */
  TCF_STAGE_PLAN,  /* with what the schedule of each kernel is, which may be edited */
  TCF_STAGE_TILE,
  TCF_STAGE_LLVM,
  TCF_STAGE_ASM
} tcf_stage;

typedef void (*tcf_text_callback)(void *user, const char *title, const char *text);

/** Zero-initialise and set size. */
typedef struct tcf_emit_options {
  size_t size;
  const char *function; /* NULL: all */
  tcf_stage stage;
  /** Names of passes, separated by commas, instead of the pipeline; "" runs none. NULL: none for
   *  TCF_STAGE_GRAPH, the pipeline for the others (graphs that are fused already skip it). */
  const char *passes;
  const tcf_size *sizes; /* symbols to specialise on */
  size_t nsizes;
  /** Receives the graph after each pass (title: the pass' name). */
  tcf_text_callback after_pass;
  void *user;
} tcf_emit_options;

/** The program as text at a stage: canonical, and (up to tile) readable by tcf_program_load.
 *  Free the text with tcf_text_free. */
TCF_API tcf_status tcf_program_emit(tcf_program *program, const tcf_emit_options *options,
                                    char **text);

/** What the function is called in the outputs ahead of time that follow: as in the program, but with
 *  `_` behind it where C, C++ or their libraries have the name (`double_`, `malloc_`), or it looks
 *  like one of theirs (`MAX_`, `_exit_`). Another symbol: tcf_function_export_as; TCF_WRONG_USE where
 *  it is no identifier or theirs. */
TCF_API const char *tcf_function_export_name(const tcf_function *function);
TCF_API tcf_status tcf_function_export_as(tcf_function *function, const char *symbol);

/** An object file (ELF, x86-64) of one function for linking into other programs, and the header that
 *  declares it: plain C that stands alone, with the frame a caller fills (memory for intermediates,
 *  how to run a loop in parallel or launch a kernel). sizes: symbols that are constants in it; the
 *  others are parameters. With a CUDA target the object carries PTX and calls the frame's launch; the
 *  header then lists its kernels. Free both with tcf_text_free. */
TCF_API tcf_status tcf_function_object(tcf_function *function, const tcf_size *sizes, size_t nsizes,
                                       char **data, size_t *size);
TCF_API tcf_status tcf_function_header(tcf_function *function, const tcf_size *sizes, size_t nsizes,
                                       char **text);

/** A library of one function that is ready to be called, and the header that declares it: no frame,
 *  but a context that has threads and memory, or the kernels in a device and calls on the caller's
 *  streams. It needs libc, libm and threads, and on a device its driver; nothing of tcc-fuse.
 *  Unlike with tcf_call, memory of results must not be that of parameters: the library tests it.
 *  path: FILE.so, linked by the system's cc, or FILE.a. With a CUDA target it carries PTX, and a cubin
 *  too where NVIDIA's ptxas is found. *summary (may be NULL) says what the code is for, to be freed with
 *  tcf_text_free. TCF_UNAVAILABLE: no cc, or a program that failed; TCF_NO_FILE: path cannot be written.
 *  This and tcf_function_cubin run programs, in a directory of their own under $TMPDIR. */
TCF_API tcf_status tcf_function_library(tcf_function *function, const tcf_size *sizes,
                                        size_t nsizes, const char *path, char **summary);
TCF_API tcf_status tcf_function_library_header(tcf_function *function, const tcf_size *sizes,
                                               size_t nsizes, char **text);
/** The same of up to 7 functions of one session in one library, each with a context of its own, and
 *  their declarations in one header; the header of several objects. */
TCF_API tcf_status tcf_functions_library(tcf_function *const *functions, size_t count,
                                         const tcf_size *sizes, size_t nsizes, const char *path,
                                         char **summary);
TCF_API tcf_status tcf_functions_library_header(tcf_function *const *functions, size_t count,
                                                const tcf_size *sizes, size_t nsizes, char **text);
TCF_API tcf_status tcf_functions_header(tcf_function *const *functions, size_t count,
                                        const tcf_size *sizes, size_t nsizes, char **text);
/** What ptxas makes of the PTX. TCF_UNAVAILABLE without one. */
TCF_API tcf_status tcf_function_cubin(tcf_function *function, const tcf_size *sizes, size_t nsizes,
                                      char **data, size_t *size);

/** Whether the contracts (`fuse` blocks) of all functions hold on the session's target, for any sizes:
 *  TCF_OK, or TCF_WRONG_PROGRAM with diagnostics. Compiles nothing; compiling asks again for the sizes
 *  that are then known. */
TCF_API tcf_status tcf_program_check(tcf_program *program);

typedef enum tcf_format { TCF_TEXT, TCF_JSON, TCF_HTML, TCF_SVG } tcf_format;

/** What was fused, what was not, why, and what it costs, kernel by kernel. function NULL: all. Formats:
 *  all but TCF_SVG. */
TCF_API tcf_status tcf_program_explain(tcf_program *program, const char *function,
                                       const tcf_size *sizes, size_t nsizes, tcf_format format,
                                       char **text);

/** What gradients find in memory and what they compute again, why, and predicted time over memory for other
 *  plans (docs/recomputation.md), with the budget of the session. TCF_TEXT, TCF_JSON, or TCF_SVG: the
 *  curve of one function. */
TCF_API tcf_status tcf_program_explain_recomputation(tcf_program *program, const char *function,
                                                     const tcf_size *sizes, size_t nsizes,
                                                     tcf_format format, char **text);

/** The functions with their signatures: a line of the language for each, `fn f(x: f32[N]) -> f32[N] where
 *  N >= 1`, or an array in JSON (TCF_JSON) of name, signature, parameters and results (name, type, axes with
 *  name and size) and sizes (name, least, most, multiple_of). Free the text with tcf_text_free. */
TCF_API tcf_status tcf_program_signatures(const tcf_program *program, tcf_format format,
                                          char **text);

/** The canonical layout of a source text; comments are kept. */
TCF_API tcf_status tcf_format_source(tcf_session *session, const char *name, const char *text,
                                     size_t size, char **formatted);

TCF_API void tcf_text_free(char *text);

/* ---- The cache on disk ----------------------------------------------------------------------- */

typedef enum tcf_cache_task {
  TCF_CACHE_LIST,   /* reads the heads of entries */
  TCF_CACHE_VERIFY, /* reads all of them, and compares their checksums */
  TCF_CACHE_CLEAR   /* removes them, and temporary files that were left an hour ago */
} tcf_cache_task;

/** Everything in it lives until the callback returns. */
typedef struct tcf_cache_entry {
  const char *name;  /* of the file in the directory */
  const char *kind;  /* "code", "cubin" (of PTX), "schedule" (by trial); "" where it cannot be told */
  const char *fault; /* why it cannot be used, or, with TCF_CACHE_CLEAR, removed; NULL: it can */
  uint64_t bytes;
  int64_t used; /* when it was last; seconds since 1970 */
} tcf_cache_entry;

/** It calls nothing here. */
typedef void (*tcf_cache_callback)(void *user, const tcf_cache_entry *entry);

typedef struct tcf_cache_totals {
  size_t size;             /* set before asking, as in tcf_options */
  const char *directory;   /* lives as long as the session */
  uint64_t entries, bytes; /* that are there; with TCF_CACHE_CLEAR: that were removed */
  uint64_t faults;         /* entries with one */
  uint64_t others;         /* files that are no entries: they are never touched */
} tcf_cache_totals;

/** Goes through the session's cache directory, the entry used last first; found may be NULL. Faults of
 *  entries end nothing and are no failure: whoever compiles drops entries that are damaged. An entry is a
 *  file named as entries are; processes that use the directory meanwhile are not disturbed. The default
 *  directory may be missing (it has no entries then), one that was asked for is TCF_NO_FILE. TCF_WRONG_USE:
 *  the session has no cache; or it is to be cleared, and the directory is none of a cache, for it has other
 *  files and no entry. */
TCF_API tcf_status tcf_session_cache(tcf_session *session, tcf_cache_task task,
                                     tcf_cache_callback found, void *user,
                                     tcf_cache_totals *totals);

typedef enum tcf_list { TCF_LIST_PASSES, TCF_LIST_OPS, TCF_LIST_TARGETS, TCF_LIST_ERRORS } tcf_list;

/** Row i of a list: its name and one line about it, static; *number (may be NULL) the code of an
 *  error. 0 past the end. */
TCF_API int tcf_list_row(tcf_list list, size_t i, int *number, const char **name,
                         const char **summary);

#ifdef __cplusplus
}
#endif
#endif
