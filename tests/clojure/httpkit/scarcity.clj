(ns httpkit.scarcity
  "For the JVMs of tests: a heap without room for one object more, and a process that cannot start a thread.
  Meanwhile the test talks to them over standard input and output, a byte each way, which needs neither."
  (:require [clojure.java.io    :as io]
            [clojure.java.shell :as shell]
            [clojure.string     :as str])
  (:import [java.io BufferedReader ByteArrayInputStream ByteArrayOutputStream FileDescriptor FileInputStream FileOutputStream InputStream
            OutputStream]
           [java.nio.file Files Paths]
           [java.util List]
           [java.util.concurrent CountDownLatch]
           [java.util.concurrent.atomic AtomicBoolean]))

(set! *warn-on-reflection* true)

(def ^:private in (FileInputStream. FileDescriptor/in))
(def ^:private out (FileOutputStream. FileDescriptor/out))

(defn- read! [^InputStream in ^AtomicBoolean flag]
  (.read in)
  (.set flag true))

(defn- write! [^OutputStream out ^AtomicBoolean flag]
  (when-not (.get flag)
    (.write out 33)
    (.set flag true)))

(defn await-test!
  "Waits until the test writes a byte."
  []
  (read! in (AtomicBoolean.)))

(defn tell-test!
  "Lets the test go on."
  []
  (write! out (AtomicBoolean.)))

(defn- chain!
  "Keeps arrays of this size, `most` of them or until `over`."
  [^objects kept ^long size ^long most ^AtomicBoolean over]
  (loop [n 1]
    (let [^objects more (object-array size)]
      (aset more 0 (aget kept 0))
      (aset kept 0 more)
      (when (and (< n most) (not (.get over)))
        (recur (inc n))))))

(defn- survive
  "A function of its own: elsewhere Clojure makes an object of a `try`."
  [f]
  (try (f) (catch OutOfMemoryError _ nil)))

(defn- fill-until [^AtomicBoolean over most in out]
  (let [kept  (object-array 1)
        told  (AtomicBoolean.)
        tell  #(write! out told)
        steps (mapv (fn [size] #(chain! kept size most over)) [65536 4096 256 16 2])
        fill  #(run! survive steps)]
    (doto (Thread. ^Runnable #(read! in over)) (.setDaemon true) (.start))
    (loop []
      (survive fill)
      (survive tell)
      (when-not (.get over)
        (recur)))))

(defn with-full-heap
  "Fills the heap, tells the test when it is full, and gives the memory back when the test says so."
  []
  ;; Once without effect: what runs for the first time loads classes, and that takes memory.
  (survive #(throw (OutOfMemoryError.)))
  (fill-until (AtomicBoolean.) 1 (ByteArrayInputStream. (byte-array 1)) (ByteArrayOutputStream.))
  (.write ^OutputStream out 10)
  (fill-until (AtomicBoolean.) Long/MAX_VALUE in out))

(defn- use-up-stacks!
  "Starts threads until none can be started: the C library keeps the stacks of some that have ended."
  [^CountDownLatch over]
  (when (try (doto (Thread. ^Runnable #(.await over)) (.setDaemon true) (.start))
             (catch OutOfMemoryError _ nil))
    (recur over)))

(defn- with-limit
  "Calls `f` while this process has a soft limit: `option` of prlimit. Another process sets it and takes it away: a
  process cannot start one when it has run out of what it needs. `limit` gives the number, as late as can be."
  [option limit f]
  (let [pid     (.pid (java.lang.ProcessHandle/current))
        before  (str/trim (:out (shell/sh "prlimit" "--pid" (str pid) "--raw" "--noheadings" "--output=SOFT" option)))
        command ^List (vector "sh" "-c" (str "while read n; do prlimit --pid " pid " " option "=$n:; echo; done"))
        limiter (.start (ProcessBuilder. command))
        answers ^BufferedReader (io/reader (.getInputStream limiter))
        limit!  (fn [n]
                  (doto (.getOutputStream limiter) (.write (.getBytes (str n "\n"))) (.flush))
                  (.readLine answers))]
    (try
      (limit! (limit))
      (f)
      (finally
        (limit! before)
        (.close (.getOutputStream limiter))
        (.waitFor limiter)))))

(defn with-room
  "Calls `f` while the address space of this process can grow by at most `bytes`; returns its result."
  [bytes f]
  (let [statm (Paths/get "/proc/self/statm" (make-array String 0))]
    (with-limit "--as"
      #(+ (* 4096 (Long/parseLong (re-find #"\d+" (String. (Files/readAllBytes statm))))) (long bytes))
      f)))

(defn with-no-threads
  "What `f` returns, called while no thread can be started. Needs `-Xss64m`: the stack of a thread does not fit into
  the address space that is left."
  [f]
  (let [over (CountDownLatch. 1)]
    (try
      (with-room (* 32 1024 1024)
        (fn []
          (use-up-stacks! over)
          (f)))
      (finally (.countDown over)))))

(defn with-threads-taken
  "As `with-no-threads`; and what threads that end meanwhile give back is taken at once."
  [f]
  (let [over (CountDownLatch. 1)
        go   (CountDownLatch. 1)
        take #(do (.await go)
                  (while (pos? (.getCount over))
                    (use-up-stacks! over)))]
    (dotimes [_ 2] (doto (Thread. ^Runnable take) (.setDaemon true) (.start)))
    (try
      (with-no-threads #(do (.countDown go) (f)))
      (finally (.countDown over)))))

(defn with-no-descriptors
  "What `f` returns, called while no file or socket can be opened."
  [f]
  (with-limit "--nofile" (constantly 3) f))
