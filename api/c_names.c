// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Names in C: which ones the language or its libraries have, and what a function is exported as.
//
// Parameters of a generated prototype may be called as they like: a name that could be a keyword or
// a macro stands in a comment there. A function is a symbol that the linker sees: one called `malloc`
// or `main` would take the place of the C library's in the whole program, and a store loop of one
// called `memset` would call itself. Such a function is exported with `_` behind its name.
#include "api/session.h"

/// Keywords of C23 and C++23, and macros in small letters of the headers of libc, and of the compiler
/// (`unix`).
static const char words[] =
    " alignas alignof and and_eq asm auto b64_ntop b64_pton basename bitand bitor bool break case"
    " catch char class co_await co_return co_yield compl complex concept const const_cast"
    " consteval constexpr constinit continue d_fileno decltype default delete dn_count_labels do"
    " double dynamic_cast else enum errno explicit export extern false far float for fp_nquery"
    " fp_query fp_resstat friend goto h_addr h_errno hostalias i386 if ifa_broadaddr ifa_dstaddr"
    " ifc_buf ifc_req ifr_addr ifr_bandwidth ifr_broadaddr ifr_data ifr_dstaddr ifr_flags"
    " ifr_hwaddr ifr_ifindex ifr_map ifr_metric ifr_mtu ifr_name ifr_netmask ifr_newname ifr_qlen"
    " ifr_slave inline int interface linux loc_aton loc_ntoa long math_errhandling msg_cbytes"
    " mutable namespace near new no_argument noexcept noreturn not not_eq nsaddr nullptr operator"
    " optional_argument or or_eq p_cdname p_cdnname p_class p_fqname p_fqnname p_option p_query"
    " p_rcode p_time p_type private protected public putlong putshort register reinterpret_cast"
    " required_argument requires res_close res_hostalias res_init res_isourserver res_nameinquery"
    " res_nclose res_ninit res_queriesmatch res_randomid restrict return s6_addr s6_addr16"
    " s6_addr32 sa_handler sa_sigaction sched_priority short si_addr si_addr_lsb si_arch si_band"
    " si_call_addr si_fd si_int si_lower si_overrun si_pid si_pkey si_ptr si_status si_stime"
    " si_syscall si_timerid si_uid si_upper si_utime si_value sigev_notify_attributes"
    " sigev_notify_function signed sizeof st_atime st_ctime st_mtime static static_assert"
    " static_cast stderr stdin stdout struct switch sym_ntop sym_ntos sym_ston template this"
    " thread_local throw true try typedef typeid typename typeof typeof_unqual union unix"
    " unsigned using ut_addr ut_name ut_time ut_xtime virtual void volatile while xor xor_eq"
    " ";

/// Functions, objects and types of glibc's libc and libm; tests/unit/test_api_header.c asks for
/// those of the machine.
static const char library[] =
    " ElfW a64l abort abs accept accept4 access acct acos acosh acospi addmntent addseverity"
    " adjtime adjtimex aio_cancel aio_error aio_fsync aio_init aio_read aio_return aio_suspend"
    " aio_write alarm aligned_alloc alloca alphasort arc4random arc4random_buf arc4random_uniform"
    " arch_prctl argp_err_exit_status argp_error argp_failure argp_help argp_parse"
    " argp_program_bug_address argp_program_version argp_program_version_hook argp_state_help"
    " argp_usage argz_add argz_add_sep argz_append argz_count argz_create argz_create_sep"
    " argz_delete argz_extract argz_insert argz_next argz_replace argz_stringify asctime asin"
    " asinh asinpi asprintf assert assert_perror atan atan2 atan2pi atanh atanpi atof atoi atol"
    " atomic_compare_exchange_strong atomic_compare_exchange_weak atomic_exchange"
    " atomic_fetch_add atomic_fetch_and atomic_fetch_or atomic_fetch_sub atomic_fetch_xor"
    " atomic_flag_clear atomic_flag_test_and_set atomic_init atomic_is_lock_free atomic_load"
    " atomic_signal_fence atomic_store atomic_thread_fence backtrace backtrace_symbols"
    " backtrace_symbols_fd bcmp bcopy be16toh be32toh be64toh bind bind_textdomain_codeset"
    " bindresvport bindtextdomain brk bsd_signal bsearch bswap_16 bswap_32 bswap_64 btowc bzero"
    " c16rtomb c32rtomb c8rtomb cabs cacos cacosh call_once calloc canonicalize"
    " canonicalize_file_name capget capset carg casin casinh catan catanh catclose catgets"
    " catopen cbrt ccos ccosh ceil cexp cfgetispeed cfgetospeed cfmakeraw cfsetispeed cfsetospeed"
    " cfsetspeed chdir chflags chmod chown chroot cimag clearenv clearerr clock clock_adjtime"
    " clock_getcpuclockid clock_getres clock_gettime clock_nanosleep clock_settime clog clog10"
    " clone close close_range closedir closefrom closelog clrbit cnd_broadcast cnd_destroy"
    " cnd_init cnd_signal cnd_timedwait cnd_wait compoundn confstr conj connect copy_file_range"
    " copysign cos cosh cospi cpow cproj creal creat csin csinh csqrt ctan ctanh ctermid ctime"
    " cuserid dadd daemon daylight dcgettext dcngettext ddiv delete_module dfma dgettext difftime"
    " dirfd dirname div dl_iterate_phdr dladdr dladdr1 dlclose dlerror dlinfo dlmopen dlopen"
    " dlsym dlvsym dmul dn_comp dn_expand dn_skipname dngettext dprintf drand48 drem dsqrt dsub"
    " dup dup2 dup3 duplocale dysize eaccess ecvt endaliasent endfsent endgrent endhostent"
    " endmntent endnetent endnetgrent endprotoent endpwent endrpcent endservent endsgent endspent"
    " endttyent endusershell endutent endutxent environ envz_add envz_entry envz_get envz_merge"
    " envz_remove envz_strip epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2"
    " epoll_wait erand48 erf erfc err error error_at_line error_message_count error_one_per_line"
    " error_print_progname errx ether_aton ether_hostton ether_line ether_ntoa ether_ntohost"
    " euidaccess eventfd eventfd_read eventfd_write execl execle execlp execv execve execveat"
    " execvp execvpe exit exp exp10 exp10m1 exp2 exp2m1 explicit_bzero expm1 f32add f32div f32fma"
    " f32mul f32sqrt f32sub f32xadd f32xdiv f32xfma f32xmul f32xsqrt f32xsub f64add f64div f64fma"
    " f64mul f64sqrt f64sub f64xadd f64xdiv f64xfma f64xmul f64xsqrt f64xsub fabs faccessat fadd"
    " fallocate fanotify_init fanotify_mark fchdir fchflags fchmod fchmodat fchown fchownat"
    " fclose fcloseall fcntl fcvt fd_set fdatasync fdim fdiv fdopen fdopendir feclearexcept"
    " fedisableexcept feenableexcept fegetenv fegetexcept fegetexceptflag fegetmode fegetround"
    " feholdexcept feof feraiseexcept ferror fesetenv fesetexcept fesetexceptflag fesetmode"
    " fesetround fetestexcept fetestexceptflag feupdateenv fexecve fflush ffma ffs ffsll fgetc"
    " fgetgrent fgetpos fgetpwent fgets fgetsgent fgetspent fgetwc fgetws fgetxattr fileno finite"
    " flistxattr flock flockfile floor fma fmax fmaximum fmaximum_mag fmaximum_mag_num"
    " fmaximum_num fmaxmag fmemopen fmin fminimum fminimum_mag fminimum_mag_num fminimum_num"
    " fminmag fmod fmtmsg fmul fnmatch fopen fopencookie fork forkpty fpathconf fpclassify"
    " fprintf fputc fputs fputwc fputws fread free freeaddrinfo freeifaddrs freelocale"
    " fremovexattr freopen frexp fromfp fromfpx fscanf fsconfig fseek fseeko fsetpos fsetxattr"
    " fsmount fsopen fspick fsqrt fstat fstatat fstatfs fstatvfs fsub fsync ftell ftello ftime"
    " ftok ftruncate ftrylockfile fts64_children fts64_close fts64_open fts64_read fts64_set"
    " fts_children fts_close fts_open fts_read fts_set ftw funlockfile futimens futimes futimesat"
    " fwide fwprintf fwrite fwscanf gai_cancel gai_error gai_strerror gai_suspend gamma gcvt"
    " get_avphys_pages get_current_dir_name get_nprocs get_nprocs_conf get_phys_pages getaddrinfo"
    " getaddrinfo_a getaliasbyname getaliasent getauxval getc getchar getcontext getcpu getcwd"
    " getdate getdate_err getdelim getdents64 getdirentries getdomainname getdtablesize getegid"
    " getentropy getenv geteuid getfsent getfsfile getfsspec getgid getgrent getgrgid getgrnam"
    " getgrouplist getgroups gethostbyaddr gethostbyname gethostbyname2 gethostent gethostid"
    " gethostname getifaddrs getipv4sourcefilter getitimer getline getloadavg getlogin getmntent"
    " getnameinfo getnetbyaddr getnetbyname getnetent getnetgrent getopt getopt_long"
    " getopt_long_only getpagesize getpass getpayload getpeername getpgid getpgrp getpid getppid"
    " getpriority getprotobyname getprotobynumber getprotoent getpt getpw getpwent getpwnam"
    " getpwuid getrandom getresgid getresuid getrlimit getrpcbyname getrpcbynumber getrpcent"
    " getrusage gets getservbyname getservbyport getservent getsgent getsgnam getsid getsockname"
    " getsockopt getsourcefilter getspent getspnam getsubopt gettext gettid gettimeofday"
    " getttyent getttynam getuid getusershell getutent getutid getutline getutmp getutmpx"
    " getutxent getutxid getutxline getw getwc getwchar getwd getxattr glob glob_pattern_p"
    " globfree gmtime gnu_dev_major gnu_dev_makedev gnu_dev_minor gnu_get_libc_release"
    " gnu_get_libc_version grantpt group_member gsignal gtty h_errlist h_nerr hasmntopt hcreate"
    " hdestroy herror howmany hsearch hstrerror htobe16 htobe32 htobe64 htole16 htole32 htole64"
    " htonl htons hypot iconv iconv_close iconv_open if_freenameindex if_indextoname if_nameindex"
    " if_nametoindex ilogb imaxabs imaxdiv in6addr_any in6addr_loopback index inet6_opt_append"
    " inet6_opt_find inet6_opt_finish inet6_opt_get_val inet6_opt_init inet6_opt_next"
    " inet6_opt_set_val inet6_option_alloc inet6_option_append inet6_option_find"
    " inet6_option_init inet6_option_next inet6_option_space inet6_rth_add inet6_rth_getaddr"
    " inet6_rth_init inet6_rth_reverse inet6_rth_segments inet6_rth_space inet_addr inet_aton"
    " inet_lnaof inet_makeaddr inet_netof inet_network inet_nsap_addr inet_nsap_ntoa inet_ntoa"
    " inet_ntop inet_pton init_module initgroups initstate innetgr inotify_add_watch inotify_init"
    " inotify_init1 inotify_rm_watch insque ioctl ioperm iopl iruserok iruserok_af isalnum"
    " isalpha isascii isatty isblank iscanonical isclr iscntrl isctype isdigit iseqsig isfdtype"
    " isfinite isgraph isgreater isgreaterequal isinf isless islessequal islessgreater islower"
    " isnan isnormal isprint ispunct isset issignaling isspace issubnormal isunordered isupper"
    " iswalnum iswalpha iswblank iswcntrl iswctype iswdigit iswgraph iswlower iswprint iswpunct"
    " iswspace iswupper iswxdigit isxdigit iszero j0 j1 jmp_buf jn jrand48 kill kill_dependency"
    " killpg klogctl l64a labs lchmod lchown lckpwdf lcong48 ldexp ldiv le16toh le32toh le64toh"
    " lfind lgamma lgammaf128_r lgammaf32_r lgammaf32x_r lgammaf64_r lgammaf64x_r lgammaf_r"
    " lgammal_r lgetxattr link linkat lio_listio listen listxattr llabs lldiv llistxattr llogb"
    " llrint llround localeconv localtime lockf log log10 log10p1 log1p log2 log2p1 logb login"
    " login_tty logout logp1 logwtmp longjmp lrand48 lremovexattr lrint lround lsearch lseek"
    " lsetxattr lstat lutimes madvise main major makecontext makedev mallinfo mallinfo2 malloc"
    " malloc_info malloc_stats malloc_trim malloc_usable_size mallopt mblen mbrlen mbrtoc16"
    " mbrtoc32 mbrtoc8 mbrtowc mbsinit mbsnrtowcs mbsrtowcs mbstowcs mbtowc mcheck"
    " mcheck_check_all mcheck_pedantic mcount memalign memccpy memchr memcmp memcpy memfd_create"
    " memfrob memmem memmove mempcpy memrchr memset mincore minor mkdir mkdirat mkdtemp mkfifo"
    " mkfifoat mknod mknodat mkostemp mkostemps mkstemp mkstemps mktemp mktime mlock mlock2"
    " mlockall mmap modf modify_ldt moncontrol monstartup mount mount_setattr move_mount mprobe"
    " mprotect mq_close mq_getattr mq_notify mq_open mq_receive mq_send mq_setattr"
    " mq_timedreceive mq_timedsend mq_unlink mrand48 mremap msgctl msgget msgrcv msgsnd msync"
    " mtrace mtx_destroy mtx_init mtx_lock mtx_timedlock mtx_trylock mtx_unlock munlock"
    " munlockall munmap muntrace name_to_handle_at nan nanosleep nearbyint newlocale nextafter"
    " nextdown nexttoward nextup nftw ngettext nice nl_langinfo nrand48 ns_msg_base ns_msg_count"
    " ns_msg_end ns_msg_id ns_msg_size ns_name_compress ns_name_ntop ns_name_pack ns_name_pton"
    " ns_name_skip ns_name_uncompress ns_name_unpack ns_rr_class ns_rr_name ns_rr_rdata"
    " ns_rr_rdlen ns_rr_ttl ns_rr_type ntohl ntohs ntp_adjtime ntp_gettime ntp_gettimex"
    " obstack_1grow obstack_1grow_fast obstack_alignment_mask obstack_alloc"
    " obstack_alloc_failed_handler obstack_base obstack_begin obstack_blank obstack_blank_fast"
    " obstack_chunk_size obstack_chunkfun obstack_copy obstack_copy0 obstack_empty_p"
    " obstack_exit_failure obstack_finish obstack_free obstack_freefun obstack_grow obstack_grow0"
    " obstack_init obstack_int_grow obstack_int_grow_fast obstack_make_room obstack_memory_used"
    " obstack_next_free obstack_object_size obstack_printf obstack_ptr_grow obstack_ptr_grow_fast"
    " obstack_room obstack_specify_allocation obstack_specify_allocation_with_arg obstack_vprintf"
    " offsetof on_exit open open_by_handle_at open_memstream open_tree open_wmemstream openat"
    " openat2 opendir openlog openpty optarg opterr optind optopt parse_printf_format pathconf"
    " pause pclose perror personality pidfd_getfd pidfd_getpid pidfd_open pidfd_send_signal"
    " pidfd_spawn pidfd_spawnp pipe pipe2 pivot_root pkey_alloc pkey_free pkey_get pkey_mprotect"
    " pkey_set poll popen posix_fadvise posix_fallocate posix_madvise posix_memalign posix_openpt"
    " posix_spawn posix_spawn_file_actions_addchdir_np posix_spawn_file_actions_addclose"
    " posix_spawn_file_actions_addclosefrom_np posix_spawn_file_actions_adddup2"
    " posix_spawn_file_actions_addfchdir_np posix_spawn_file_actions_addopen"
    " posix_spawn_file_actions_addtcsetpgrp_np posix_spawn_file_actions_destroy"
    " posix_spawn_file_actions_init posix_spawnattr_destroy posix_spawnattr_getcgroup_np"
    " posix_spawnattr_getflags posix_spawnattr_getpgroup posix_spawnattr_getschedparam"
    " posix_spawnattr_getschedpolicy posix_spawnattr_getsigdefault posix_spawnattr_getsigmask"
    " posix_spawnattr_init posix_spawnattr_setcgroup_np posix_spawnattr_setflags"
    " posix_spawnattr_setpgroup posix_spawnattr_setschedparam posix_spawnattr_setschedpolicy"
    " posix_spawnattr_setsigdefault posix_spawnattr_setsigmask posix_spawnp pow powerof2 pown"
    " powr ppoll prctl pread preadv preadv2 preadv64v2 printf printf_size printf_size_info"
    " prlimit process_madvise process_mrelease process_vm_readv process_vm_writev profil"
    " program_invocation_name program_invocation_short_name pselect psiginfo psignal"
    " pthread_attr_destroy pthread_attr_getaffinity_np pthread_attr_getdetachstate"
    " pthread_attr_getguardsize pthread_attr_getinheritsched pthread_attr_getschedparam"
    " pthread_attr_getschedpolicy pthread_attr_getscope pthread_attr_getsigmask_np"
    " pthread_attr_getstack pthread_attr_getstackaddr pthread_attr_getstacksize pthread_attr_init"
    " pthread_attr_setaffinity_np pthread_attr_setdetachstate pthread_attr_setguardsize"
    " pthread_attr_setinheritsched pthread_attr_setschedparam pthread_attr_setschedpolicy"
    " pthread_attr_setscope pthread_attr_setsigmask_np pthread_attr_setstack"
    " pthread_attr_setstackaddr pthread_attr_setstacksize pthread_barrier_destroy"
    " pthread_barrier_init pthread_barrier_wait pthread_barrierattr_destroy"
    " pthread_barrierattr_getpshared pthread_barrierattr_init pthread_barrierattr_setpshared"
    " pthread_cancel pthread_cleanup_pop pthread_cleanup_pop_restore_np pthread_cleanup_push"
    " pthread_cleanup_push_defer_np pthread_clockjoin_np pthread_cond_broadcast"
    " pthread_cond_clockwait pthread_cond_destroy pthread_cond_init pthread_cond_signal"
    " pthread_cond_timedwait pthread_cond_wait pthread_condattr_destroy pthread_condattr_getclock"
    " pthread_condattr_getpshared pthread_condattr_init pthread_condattr_setclock"
    " pthread_condattr_setpshared pthread_create pthread_detach pthread_equal pthread_exit"
    " pthread_getaffinity_np pthread_getattr_default_np pthread_getattr_np pthread_getconcurrency"
    " pthread_getcpuclockid pthread_getname_np pthread_getschedparam pthread_getspecific"
    " pthread_gettid_np pthread_join pthread_key_create pthread_key_delete pthread_kill"
    " pthread_mutex_clocklock pthread_mutex_consistent pthread_mutex_destroy"
    " pthread_mutex_getprioceiling pthread_mutex_init pthread_mutex_lock"
    " pthread_mutex_setprioceiling pthread_mutex_timedlock pthread_mutex_trylock"
    " pthread_mutex_unlock pthread_mutexattr_destroy pthread_mutexattr_getprioceiling"
    " pthread_mutexattr_getprotocol pthread_mutexattr_getpshared pthread_mutexattr_getrobust"
    " pthread_mutexattr_gettype pthread_mutexattr_init pthread_mutexattr_setprioceiling"
    " pthread_mutexattr_setprotocol pthread_mutexattr_setpshared pthread_mutexattr_setrobust"
    " pthread_mutexattr_settype pthread_once pthread_rwlock_clockrdlock"
    " pthread_rwlock_clockwrlock pthread_rwlock_destroy pthread_rwlock_init pthread_rwlock_rdlock"
    " pthread_rwlock_timedrdlock pthread_rwlock_timedwrlock pthread_rwlock_tryrdlock"
    " pthread_rwlock_trywrlock pthread_rwlock_unlock pthread_rwlock_wrlock"
    " pthread_rwlockattr_destroy pthread_rwlockattr_getkind_np pthread_rwlockattr_getpshared"
    " pthread_rwlockattr_init pthread_rwlockattr_setkind_np pthread_rwlockattr_setpshared"
    " pthread_self pthread_setaffinity_np pthread_setattr_default_np pthread_setcancelstate"
    " pthread_setcanceltype pthread_setconcurrency pthread_setname_np pthread_setschedparam"
    " pthread_setschedprio pthread_setspecific pthread_sigmask pthread_sigqueue"
    " pthread_spin_destroy pthread_spin_init pthread_spin_lock pthread_spin_trylock"
    " pthread_spin_unlock pthread_testcancel pthread_timedjoin_np pthread_tryjoin_np ptrace"
    " ptsname putc putchar putenv putgrent putpwent puts putsgent putspent pututline pututxline"
    " putw putwc putwchar pvalloc pwrite pwritev pwritev2 pwritev64v2 qecvt qfcvt qgcvt qsort"
    " quick_exit quotactl raise rand random rawmemchr rcmd rcmd_af re_comp re_compile_fastmap"
    " re_compile_pattern re_exec re_match re_match_2 re_max_failures re_search re_search_2"
    " re_set_registers re_set_syntax re_syntax_options read readahead readdir readdir64_r"
    " readlink readlinkat readv realloc reallocarray realpath reboot recv recvfrom recvmmsg"
    " recvmsg regcomp regerror regexec regfree register_printf_function register_printf_modifier"
    " register_printf_specifier register_printf_type remainder remap_file_pages remove"
    " removexattr remque remquo rename renameat renameat2 res_dnok res_hnok res_mailok"
    " res_mkquery res_nmkquery res_nquery res_nquerydomain res_nsearch res_nsend res_ownok"
    " res_query res_querydomain res_search res_send revoke rewind rewinddir rexec rexec_af"
    " rexecoptions rindex rint rmdir rootn round roundeven roundup rpmatch rresvport rresvport_af"
    " rsqrt ruserok ruserok_af ruserpass sbrk scalb scalbln scalbn scandir scandirat scanf"
    " sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getcpu"
    " sched_getparam sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr"
    " sched_setparam sched_setscheduler sched_yield secure_getenv seed48 seekdir select"
    " sem_clockwait sem_close sem_destroy sem_getvalue sem_init sem_open sem_post sem_timedwait"
    " sem_trywait sem_unlink sem_wait semctl semget semop semtimedop send sendfile sendmmsg"
    " sendmsg sendto setaliasent setbit setbuf setbuffer setcontext setdomainname setegid setenv"
    " seteuid setfsent setfsgid setfsuid setgid setgrent setgroups sethostent sethostid"
    " sethostname setipv4sourcefilter setitimer setjmp setlinebuf setlocale setlogin setlogmask"
    " setmntent setnetent setnetgrent setns setpayload setpayloadsig setpgid setpgrp setpriority"
    " setprotoent setpwent setregid setresgid setresuid setreuid setrlimit setrpcent setservent"
    " setsgent setsid setsockopt setsourcefilter setspent setstate settimeofday setttyent setuid"
    " setusershell setutent setutxent setvbuf setxattr sgetsgent sgetspent shm_open shm_unlink"
    " shmat shmctl shmdt shmget shutdown sigabbrev_np sigaction sigaddset sigaltstack sigandset"
    " sigblock sigdelset sigdescr_np sigemptyset sigfillset siggetmask sighold sigignore"
    " siginterrupt sigisemptyset sigismember sigjmp_buf siglongjmp sigmask signal signalfd"
    " signbit signgam significand sigorset sigpause sigpending sigprocmask sigqueue sigrelse"
    " sigreturn sigset sigsetjmp sigsetmask sigstack sigsuspend sigtimedwait sigwait sigwaitinfo"
    " sin sincos sinh sinpi sleep snprintf sockatmark socket socketpair splice sprintf sprofil"
    " sqrt srand srand48 srandom sscanf ssignal stat statfs statvfs statx stdbit stdc_bit_ceil_uc"
    " stdc_bit_ceil_ui stdc_bit_ceil_ul stdc_bit_ceil_us stdc_bit_floor_uc stdc_bit_floor_ui"
    " stdc_bit_floor_ul stdc_bit_floor_us stdc_bit_width_uc stdc_bit_width_ui stdc_bit_width_ul"
    " stdc_bit_width_us stdc_count_ones_uc stdc_count_ones_ui stdc_count_ones_ul"
    " stdc_count_ones_us stdc_count_zeros_uc stdc_count_zeros_ui stdc_count_zeros_ul"
    " stdc_count_zeros_us stdc_first_leading_one_uc stdc_first_leading_one_ui"
    " stdc_first_leading_one_ul stdc_first_leading_one_us stdc_first_leading_zero_uc"
    " stdc_first_leading_zero_ui stdc_first_leading_zero_ul stdc_first_leading_zero_us"
    " stdc_first_trailing_one_uc stdc_first_trailing_one_ui stdc_first_trailing_one_ul"
    " stdc_first_trailing_one_us stdc_first_trailing_zero_uc stdc_first_trailing_zero_ui"
    " stdc_first_trailing_zero_ul stdc_first_trailing_zero_us stdc_has_single_bit_uc"
    " stdc_has_single_bit_ui stdc_has_single_bit_ul stdc_has_single_bit_us stdc_leading_ones_uc"
    " stdc_leading_ones_ui stdc_leading_ones_ul stdc_leading_ones_us stdc_leading_zeros_uc"
    " stdc_leading_zeros_ui stdc_leading_zeros_ul stdc_leading_zeros_us stdc_trailing_ones_uc"
    " stdc_trailing_ones_ui stdc_trailing_ones_ul stdc_trailing_ones_us stdc_trailing_zeros_uc"
    " stdc_trailing_zeros_ui stdc_trailing_zeros_ul stdc_trailing_zeros_us stpcpy stpncpy"
    " strcasecmp strcasestr strcat strchr strchrnul strcmp strcoll strcpy strcspn strdup strdupa"
    " strerror strerrordesc_np strerrorname_np strfmon strfromd strfromf strfromf128 strfromf32"
    " strfromf32x strfromf64x strfroml strfry strftime strlcat strlcpy strlen strncasecmp strncat"
    " strncmp strncpy strndup strndupa strnlen strpbrk strptime strrchr strsep strsignal strspn"
    " strstr strtod strtof strtof128 strtof32 strtof32x strtof64_l strtof64x strtoimax strtok"
    " strtol strtold strtoll_l strtoq strtoul strtoull_l strtoumax strtouq strverscmp strxfrm"
    " stty swab swapcontext swapoff swapon swprintf swscanf symlink symlinkat sync"
    " sync_file_range syncfs syscall sysconf sysinfo syslog system sysv_signal tan tanh tanpi"
    " tcdrain tcflow tcflush tcgetattr tcgetpgrp tcgetsid tcsendbreak tcsetattr tcsetpgrp tdelete"
    " tdestroy tee telldir tempnam textdomain tfind tgamma tgkill thrd_create thrd_current"
    " thrd_detach thrd_equal thrd_exit thrd_join thrd_sleep thrd_yield time timegm timelocal"
    " timer_create timer_delete timer_getoverrun timer_gettime timer_settime timeradd timerclear"
    " timercmp timerfd_create timerfd_gettime timerfd_settime timerisset timersub times"
    " timespec_get timespec_getres timezone tmpfile tmpnam toascii tolower totalorder"
    " totalordermag toupper towctrans towlower towupper trunc truncate tsearch tss_create"
    " tss_delete tss_get tss_set ttyname ttyslot twalk tzname tzset u_char u_int u_long u_short"
    " uabs ualarm ufromfp ufromfpx uimaxabs uint ulabs ulckpwdf ulimit ullabs ulong umask umount"
    " umount2 uname ungetc ungetwc unlink unlinkat unlockpt unsetenv unshare updwtmp updwtmpx"
    " uselocale ushort usleep utime utimensat utimes utmpname utmpxname va_arg va_copy va_end"
    " va_start valloc vasprintf vdprintf verr verrx versionsort vfork vfprintf vfscanf vfwprintf"
    " vfwscanf vhangup vlimit vmsplice vprintf vscanf vsnprintf vsprintf vsscanf vswprintf"
    " vswscanf vsyslog vwarn vwarnx vwprintf vwscanf wait wait3 wait4 waitid waitpid warn warnx"
    " wcpcpy wcpncpy wcrtomb wcscasecmp wcscat wcschr wcschrnul wcscmp wcscoll wcscpy wcscspn"
    " wcsdup wcsftime wcslcat wcslcpy wcslen wcsncasecmp wcsncat wcsncmp wcsncpy wcsnlen"
    " wcsnrtombs wcspbrk wcsrchr wcsrtombs wcsspn wcsstr wcstod wcstof wcstof128 wcstof32"
    " wcstof32x wcstof64_l wcstof64x wcstoimax wcstok wcstol wcstold wcstoll_l wcstombs wcstoq"
    " wcstoul wcstoull_l wcstoumax wcstouq wcswcs wcswidth wcsxfrm wctob wctomb wctrans wctype"
    " wcwidth wmemchr wmemcmp wmemcpy wmemmove wmempcpy wmemset wordexp wordfree wprintf write"
    " writev wscanf y0 y1 yn"
    " ";

/// The words of a list are sorted, with a space before and behind each.
static bool is_in(const char *list, size_t size, str name) {
  size_t low = 0, high = size - 2;  // spaces; the last one is behind all words
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    while (list[middle] != ' ') middle--;
    str word = {list + middle + 1, (int)strcspn(list + middle + 1, " ")};
    int order = str_cmp(word, name);
    if (!order) return true;
    if (order < 0) low = middle + 1 + (size_t)word.len;
    else high = middle;
  }
  return false;
}

/// The list has it, or what is left without an ending that stands for another type or variant.
static bool is_in_library(str name) {
  static const char *const endings[] = {"",     "f",    "l",    "64",        "_r",       "_l", "f32",
                                        "f64",  "f128", "f32x", "f64x", "_unlocked", "_explicit"};
  for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
    str ending = str_from(endings[i]);
    if (name.len <= ending.len || !str_ends(name, ending)) continue;
    if (is_in(library, sizeof library, (str){name.ptr, name.len - ending.len})) return true;
  }
  return false;
}

static bool is_capital(char c) { return c >= 'A' && c <= 'Z'; }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static bool is_identifier(str name) {
  if (!name.len || is_digit(name.ptr[0])) return false;
  for (int i = 0; i < name.len; i++) {
    char c = name.ptr[i];
    if (!is_capital(c) && !is_digit(c) && !(c >= 'a' && c <= 'z') && c != '_') return false;
  }
  return true;
}

/// Macros of libraries are written so: EOF, INT32_MAX, SCNx8; and I of <complex.h>.
static bool looks_like_macro(str name) {
  if (str_eqz(name, "I")) return true;
  if (name.len < 2 || !is_capital(name.ptr[0])) return false;
  char second = name.ptr[1];
  return is_capital(second) || is_digit(second) || second == '_';
}

/// What the implementation of C, POSIX and tcc_fuse.h keep for themselves.
static bool is_kept(str name) {
  return name.ptr[0] == '_' || str_ends(name, STR("_t")) || str_starts(name, STR("tcf_"));
}

bool c_name_is_plain(str name) {
  return is_identifier(name) && !is_in(words, sizeof words, name) && !looks_like_macro(name) &&
         !is_kept(name);
}

/// Of a symbol f, or of the functions of a library around it: `sem` would make `sem_open`.
static bool is_taken(arena *a, str symbol) {
  static const char *const around[] = {"open", "close", "message", "wait"};
  bool taken = is_in(words, sizeof words, symbol) || is_in_library(symbol);
  for (size_t i = 0; !taken && i < sizeof around / sizeof *around; i++)
    taken = is_in_library(str_printf(a, "%.*s_%s", STR_FMT(symbol), around[i]));
  return taken;
}

bool c_symbol_is_free(arena *a, str symbol) {
  return is_identifier(symbol) && !is_taken(a, symbol) && !str_eqz(symbol, "I");
}

str c_symbol(arena *a, str name) {
  str symbol = str_dup(a, name);
  char *text = (char *)symbol.ptr;
  for (int i = 0; i < symbol.len; i++)
    if (!is_identifier((str){&text[i], 1}) && !(i && is_digit(text[i]))) text[i] = '_';
  if (!c_name_is_plain(symbol)) symbol = str_printf(a, "%.*s_", STR_FMT(symbol));
  while (is_taken(a, symbol)) symbol = str_printf(a, "%.*s_", STR_FMT(symbol));
  return symbol;
}
