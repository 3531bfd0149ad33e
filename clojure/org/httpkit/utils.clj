(ns org.httpkit.utils
  "What server and client share: worker pools, and what this JVM can do."
  (:require
   [org.httpkit.workers :as workers])
  (:import
   [org.httpkit VirtualThreads]
   [org.httpkit.jni Native NativeLibrary]))

(defmacro compile-if
  "Expands to `then` if `test`, evaluated while compiling, is truthy, otherwise
  (also when it throws) to `else`. The answer stays in AOT-compiled code: ask
  about libraries this way, not about the JVM."
  [test then else]
  (if (try (eval test) (catch Throwable _ false))
    then
    else))

(defn java-version>=
  "True iff the running JVM's feature version (8, 11, 21 ...) is at least `n`."
  [n]
  (>= (.feature (Runtime/version)) (long n)))

(defn have-virtual-threads?
  "True iff the running JVM has virtual threads, i.e. Java 21+. Decided at run
  time: code compiled on an older JVM finds them on a newer one."
  []
  (VirtualThreads/available))

(defn new-worker
  "Makes a worker pool. Returns one of

    {:type :virtual :n-cores _ :pool _} ; A virtual thread per task
    {:type :fixed   :n-cores _ :pool _  ; A `ThreadPoolExecutor`
     :n-min-threads _ :n-max-threads _ :queue-type _ :queue-size _ :queue _}

  with `:queue-type` as in `user-opts`, nil if it was not given.

  On Java 21+ the pool is virtual, and all sizing options are without effect,
  unless `:allow-virtual?` is given and false or nil.

  `user-opts`:
    :allow-virtual? ; Use virtual threads where there are any? (default true)
    :n-min-threads  ; Threads kept  (default `:n-threads`, else by cores, min 2)
    :n-max-threads  ; Threads at most, used only while the queue is full
                    ; (default `:n-threads`, else by cores, min 2)
    :n-threads      ; Both of the above
    :queue-type     ; `:array` or `:linked`
    :queue-size     ; Tasks that may wait, more are rejected
    :keep-alive-msecs ; Idle life of threads beyond the minimum
    :prefix         ; Of the threads' names, numbered from 1

  `internal-opts`, the defaults of server, client ...:
    :default-prefix       ; (default \"http-kit-worker-\")
    :default-queue-type   ; (default `:array`)
    :default-queue-size   ; (default nil: `:linked` unbounded, `:array` refused)
    :n-min-threads-factor ; Threads per core (default 1)
    :n-max-threads-factor ; Threads per core (default 1)
    :keep-alive-msecs     ; Idle life of threads beyond the minimum (default 0)

  Throws IllegalArgumentException for sizes or a queue type that make no pool,
  NullPointerException for an `:array` queue without size."
  [internal-opts user-opts]
  (workers/worker (workers/spec internal-opts user-opts)))

(defn native-info
  "Returns what runs beneath, and loads it if need be:

    :version      ; Of the native library, e.g. \"0.1.0\"
    :profile      ; Its build, \"release\" or \"debug\"
    :file         ; The file that was loaded, after unpacking. A copy, for a second
                  ; class loader, has been removed since
    :platform     ; Which of the jar's libraries that is, e.g. \"linux-x86_64-musl\"
    :libc         ; \"glibc\" or \"musl\" on Linux, else nil
    :live-handles ; Native objects held for the JVM now: a number that only
                  ; grows is a leak

  Throws UnsatisfiedLinkError, whose message says what was looked for, where, what
  the jar holds and how to override, if the library cannot be loaded."
  []
  (let [info (NativeLibrary/info)]
    {:version      (Native/version)
     :profile      (Native/buildProfile)
     :file         (get info "file")
     :platform     (get info "platform")
     :libc         (get info "libc")
     :live-handles (Native/liveHandles)}))
