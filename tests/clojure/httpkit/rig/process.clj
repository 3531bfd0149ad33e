(ns httpkit.rig.process
  "Starts the site of the rig, and measures its process from outside."
  (:require [clojure.edn        :as edn]
            [clojure.java.io    :as io]
            [clojure.string     :as str]
            [httpkit.subprocess :as subprocess]
            [httpkit.wire       :as wire])
  (:import (java.io BufferedReader Closeable File Writer)
           (java.nio.file Files Path)
           (java.util.concurrent TimeUnit)))

(set! *warn-on-reflection* true)

(defrecord Site [^Process process port ssl-port modes ^File log ask]
  Closeable
  (close [_]
    (.destroyForcibly process)
    (.waitFor process 10 TimeUnit/SECONDS)
    (.delete log)))

(defn- jvm-args []
  (let [native (System/getProperty "http-kit.native.path")]
    ;; A heap that is resident from the start: what grows is memory beside it. That of threads which compile grows
    ;; too, and is not ours to bound: one compiler thread of each kind.
    (cond-> (into ["-Xms256m" "-Xmx256m" "-XX:+AlwaysPreTouch" "-XX:+UseSerialGC" "-XX:CICompilerCount=2"
                   "-XX:-UseDynamicNumberOfCompilerThreads"]
                  subprocess/native-access)
      native (conj (str "-Dhttp-kit.native.path=" native)))))

(defn- asking
  "A function that writes a word to the process and returns the data that it prints."
  [^Process process ^BufferedReader out]
  (let [^Writer in (io/writer (.getOutputStream process))]
    (fn [word]
      (locking in
        (when word
          (.write in (str word "\n"))
          (.flush in))
        (let [line (deref (future (.readLine out)) 120000 :silent)]
          (if (string? line)
            (edn/read-string line)
            (throw (ex-info (str "the site does not answer " word) {:line line :alive (.isAlive process)}))))))))

(defn start
  "Starts a site with these options (httpkit.rig.site), in a JVM with a heap of 256 MiB. To be closed."
  ^Closeable [options]
  (let [log     (doto (File/createTempFile "rig" ".log") .deleteOnExit)
        command (-> [subprocess/java-command]
                    (into (jvm-args))
                    (into ["-cp" (System/getProperty "java.class.path") "clojure.main" "-e"
                           (str "(require 'httpkit.rig.site) (httpkit.rig.site/-main " (pr-str (pr-str options)) ")")]))
        process (-> (ProcessBuilder. ^java.util.List command)
                    (.redirectError log)
                    (.start))
        ask     (asking process (io/reader (.getInputStream process)))
        {:keys [port ssl-port modes]} (try (ask nil)
                                           (catch clojure.lang.ExceptionInfo e
                                             (.destroyForcibly process)
                                             (throw (ex-info (str (ex-message e) ": " (slurp log)) {} e))))]
    (->Site process port ssl-port modes log ask)))

(defn- proc [{:keys [^Process process]} entry] (io/file "/proc" (str (.pid process)) entry))

(defn- status-number [site field]
  (let [lines (Files/readAllLines (Path/of (str (proc site "status")) (make-array String 0)))]
    (some #(some-> (re-matches (re-pattern (str field ":\\s+(\\d+).*")) %) second (Long/parseLong)) lines)))

(defn rss-kib ^long [site] (status-number site "VmRSS"))
(defn threads ^long [site] (status-number site "Threads"))
(defn descriptors ^long [site] (count (.list ^File (proc site "fd"))))
(defn log-bytes ^long [{:keys [^File log]}] (.length log))

(defn log-counts
  "How many lines of the log begin with the same words; numbers are left out."
  [{:keys [log]}]
  (with-open [in (io/reader log)]
    (frequencies (map #(str/replace (subs % 0 (min 60 (count %))) #"[0-9]+" "N") (line-seq in)))))

(defn ask [{:keys [ask]} word] (ask word))

(defn held
  "What the process holds: {:handles :native-kib :connections :rss-kib :descriptors :threads ...}."
  [site]
  (let [state (ask site "state")]
    (assoc state
           :rss-kib     (rss-kib site)
           :descriptors (descriptors site)
           :threads     (threads site))))

(defn settled
  "`held`, once resident memory has been the same (within 64 KiB) for 1.5 s, or after 12 s. What was freed is returned to
  the system a second later, which must not be missed."
  [site]
  (loop [before (held site), same 0, tries 24]
    (Thread/sleep 500)
    (let [now  (held site)
          same (if (> 64 (abs (- (long (:rss-kib now)) (long (:rss-kib before))))) (inc same) 0)]
      (if (or (= 3 same) (zero? tries))
        now
        (recur now same (dec tries))))))

(defn rested
  "`held`, once the library's memory has been the same for 70 s, or after 5 minutes: threads without work, and what they
  keep for the next, have ended after a minute."
  [site]
  (loop [held-before (held site), same 0, tries 60]
    (Thread/sleep 5000)
    (let [now  (held site)
          same (if (= (:native-kib now) (:native-kib held-before)) (+ same 5) 0)]
      (if (or (<= 70 same) (zero? tries))
        now
        (recur now same (dec tries))))))

(defn limit-descriptors!
  "Sets the soft limit; returns the one before."
  [{:keys [^Process process]} limit]
  (let [run    (fn [& arguments]
                 (let [limiter (.start (ProcessBuilder. ^java.util.List (into ["prlimit" "--pid" (str (.pid process))] arguments)))]
                   (str/trim (slurp (.getInputStream limiter)))))
        before (run "--raw" "--noheadings" "--output=SOFT" "--nofile")]
    (run (str "--nofile=" limit ":"))
    before))

(def ^:private idle-threads
  "How many threads more than before may wait for work, which keeps them for a minute: the JVM's carriers of virtual
  threads, the compiler's, timers."
  8)

(defn left
  "What `after` holds more than `before`, of all that must return."
  [before after]
  (into {}
        (for [[k slack] {:handles 0 :connections 0 :descriptors 0 :threads idle-threads}
              :let [more (- (long (k after)) (long (k before)))]
              :when (< (long slack) more)]
          [k more])))

(defn returned
  "Waits until nothing is left; what is left otherwise."
  [site before]
  (let [last-seen (volatile! nil)]
    (wire/eventually #(empty? (vreset! last-seen (left before (held site)))))
    @last-seen))
