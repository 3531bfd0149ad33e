(ns httpkit.exhausted
  "A JVM with servers in every mode, whose heap, or threads, are taken away and given back on demand."
  (:require [clojure.edn        :as edn]
            [clojure.java.io    :as io]
            [clojure.string     :as str]
            [clojure.test       :refer [is]]
            [httpkit.modes      :as modes]
            [httpkit.subprocess :as subprocess]
            [httpkit.wire       :as wire]
            [org.httpkit.utils  :as utils])
  (:import (java.io BufferedReader)
           (java.util.concurrent AbstractExecutorService LinkedBlockingQueue)))

(set! *warn-on-reflection* true)

;;;; In the other JVM

(def ^:private hog (object-array 1))

(defn- took?
  "Whether there was room for an array of this many bytes. Without boxed numbers and closures, which would need room."
  [^long size]
  (try (let [more (object-array 2)]
         (aset more 0 (byte-array size))
         (aset more 1 (aget ^objects hog 0))
         (aset ^objects hog 0 more)
         true)
       (catch OutOfMemoryError _ false)))

(defn- fill-heap!
  "Takes all of the heap, down to the smallest hole."
  []
  (loop [size (bit-shift-left 1 20)]
    (when (pos? size)
      (recur (if (took? size) size (quot size 2))))))

(def ^:private lock (Object.))

(defn- take-threads!
  "Starts threads until none can be started any more; they end when `lock` is notified."
  []
  (when (try (.start (doto (Thread. #(locking lock (.wait ^Object lock))) (.setDaemon true)))
             true
             (catch OutOfMemoryError _ false))
    (recur)))

(defn- give-back! []
  (aset ^objects hog 0 nil)
  (locking lock (.notifyAll ^Object lock)))

(defn- thread-per-task
  "A pool that is whole again when the heap is. The JDK's are not: their queues may forget to wake a thread."
  []
  (proxy [AbstractExecutorService] []
    (execute [^Runnable task] (.start (doto (Thread. task) (.setDaemon true))))
    (shutdown []) (shutdownNow [] []) (isShutdown [] true) (isTerminated [] true)
    (awaitTermination [_ _] true)))

(def ^{:private true, :tag 'bytes} done
  "Made before memory is gone, and written in one piece, on a line of its own: logs go to the same pipe."
  (.getBytes "\n.\n"))

(defn serve
  "Prints the servers, and obeys letters on standard input: h takes the heap, t the threads, any other gives back what
  was taken. A dot on standard output says that it is done."
  []
  (let [in      System/in
        servers (binding [modes/*pool* thread-per-task]
                  (modes/start #(throw (Exception. "fails")) {"/allocate" #(alength (byte-array 100000))} {}))]
    ;; Resolves what it catches, which takes memory.
    (took? Integer/MAX_VALUE)
    (prn (mapv #(select-keys % [:mode :port :threads]) servers))
    (flush)
    (loop [letter (.read in)]
      (when-not (neg? letter)
        (case (char letter)
          \h (fill-heap!)
          \t (take-threads!)
          (give-back!))
        (.write System/out done 0 (alength done))
        (.flush System/out)
        (recur (.read in))))
    (System/exit 0)))

;;;; In this one

(defn- jvm-args [more]
  ;; The library is there already: unpacking one with all its symbols takes more memory than all else.
  (concat more
          ["-XX:+UseSerialGC" (str "-Dhttp-kit.native.path=" (:file (utils/native-info)))]
          subprocess/native-access))

(defn- lines-of
  "A function that returns the next line of what a process has printed, nil if there is none yet."
  [^Process process]
  (let [lines (LinkedBlockingQueue.)]
    (future (with-open [^BufferedReader in (io/reader (.getInputStream process))]
              (doseq [line (line-seq in)] (.put lines line))))
    #(.poll lines)))

(defn start
  "Starts it. `kilobytes` bound its address space, nil for no bound. Returns {:process :line :servers}."
  [more-jvm-args kilobytes]
  (let [script  "(require 'httpkit.exhausted) (httpkit.exhausted/serve)"
        process (if kilobytes
                  (subprocess/start script
                                    :java "bash"
                                    :jvm-args (into ["-c" (str "ulimit -v " kilobytes "; exec \"$@\"") "bash"
                                                     subprocess/java-command]
                                                    (jvm-args more-jvm-args)))
                  (subprocess/start script :jvm-args (jvm-args more-jvm-args)))
        line    (lines-of process)
        said    (atom [])
        servers (wire/eventually 120000 #(when-let [text (line)]
                                           (swap! said conj text)
                                           (when (str/starts-with? text "[{") (edn/read-string text))))]
    (is servers (str/join "\n" @said))
    {:process process :line line :servers (or servers [])}))

(defn order!
  "Waits until it is done."
  [{:keys [^Process process line]} ^String letter]
  (doto (.getOutputStream process)
    (.write (.getBytes letter))
    (.flush))
  (is (wire/eventually 120000 #(= "." (line))) (str "ordered: " letter)))

(defn end! [{:keys [^Process process]}]
  (.destroyForcibly process))
