(ns org.httpkit.utils
  "Shared by server and client: worker pools, and this JVM's capabilities."
  (:require
   [org.httpkit.options :as options]
   [org.httpkit.workers :as workers])
  (:import
   [org.httpkit VirtualThreads]
   [org.httpkit.jni Native NativeLibrary]))

(defmacro compile-if
  "Expands to `then` if `test`, evaluated at compile time, is truthy, otherwise
  (also if it throws) to `else`. The result is fixed in AOT-compiled code: test
  for libraries this way, not for the JVM.

    (compile-if (do (require 'ring.core.protocols) true) (use-ring) (do-without))"
  [test then else]
  (if (try (eval test) (catch Throwable _ false))
    then
    else))

(defn java-version>=
  "True iff the running JVM's feature version (8, 11, 21 ...) is at least `n`.

    (java-version>= 21) ; => true"
  [n]
  (>= (.feature (Runtime/version)) (long n)))

(defn have-virtual-threads?
  "True iff the running JVM has virtual threads, i.e. Java 21+. Checked at run
  time: code compiled on an older JVM finds them on a newer one.

    (when (have-virtual-threads?) (println \"blocking is cheap\"))"
  []
  (VirtualThreads/available))

(defn new-worker
  "Makes a worker pool. Returns one of

    {:type :virtual :n-cores _ :pool _} ; A virtual thread per task
    {:type :fixed   :n-cores _ :pool _  ; A `ThreadPoolExecutor`
     :n-min-threads _ :n-max-threads _ :queue-type _ :queue-size _ :queue _}

  with `:queue-type` as in `user-opts`, nil if it was not given.

  On Java 21+ the pool is virtual, and sizing options have no effect, unless
  `:allow-virtual?` is given and false or nil.

  `user-opts`:
    :allow-virtual? ; Use virtual threads if available? (default true)
    :n-min-threads  ; Threads kept  (default `:n-threads`, else by cores, min 2)
    :n-max-threads  ; Maximum threads, reached only while the queue is full
                    ; (default `:n-threads`, else by cores, min 2)
    :n-threads      ; Both of the above
    :queue-type     ; `:array` or `:linked`
    :queue-size     ; Maximum queued tasks, more are rejected
    :keep-alive-msecs ; How long threads beyond the minimum may idle
    :prefix         ; Of the thread names, numbered from 1

  `internal-opts`, the defaults of server, client ...:
    :default-prefix       ; (default \"http-kit-worker-\")
    :default-queue-type   ; (default `:array`)
    :default-queue-size   ; (default nil: `:linked` unbounded, `:array` throws)
    :n-min-threads-factor ; Threads per core (default 1)
    :n-max-threads-factor ; Threads per core (default 1)
    :keep-alive-msecs     ; How long threads beyond the minimum may idle (default 0)

  Throws, unless the pool is virtual, IllegalArgumentException if the sizes or queue
  type are invalid, ClassCastException for values of a wrong class,
  ArithmeticException for numbers beyond an int, NullPointerException for an `:array`
  queue without a size.

    (:pool (new-worker {:default-prefix \"job-\"} {:n-threads 2 :queue-type :linked :allow-virtual? false}))"
  [internal-opts user-opts]
  (workers/worker (workers/spec internal-opts (options/as-map "new-worker" user-opts))))

(defn native-info
  "Describes the native library, loading it if necessary:

    :version      ; Of the native library, e.g. \"2.9.0-rust.1\"
    :profile      ; Its build, \"release\" or \"debug\"
    :file         ; The file that was loaded, after unpacking. A copy for a second
                  ; class loader has since been removed
    :platform     ; Which of the jar's libraries it is, e.g. \"linux-x86_64-musl\"
    :libc         ; \"glibc\" or \"musl\" on Linux, else nil
    :live-handles ; Native objects currently held for the JVM: a number that only
                  ; grows is a leak

  Throws UnsatisfiedLinkError if the library cannot be loaded; its message says what
  was looked for, where, what the jar contains and how to override.

    (:platform (native-info)) ; => \"linux-x86_64\""
  []
  (let [info (NativeLibrary/info)]
    {:version      (Native/version)
     :profile      (Native/buildProfile)
     :file         (get info "file")
     :platform     (get info "platform")
     :libc         (get info "libc")
     :live-handles (Native/liveHandles)}))
