(ns httpkit.subprocess
  "Runs Clojure scripts in JVMs of their own, for claims about a whole process."
  (:require [clojure.java.io :as io]
            [clojure.string  :as str])
  (:import [java.io BufferedReader]
           [java.util.concurrent TimeUnit]))

(def java-command
  "Ours, or that of `./dev jni-check all`."
  (or (System/getProperty "httpkit.java")
      (str (io/file (System/getProperty "java.home") "bin" "java"))))

(def native-access
  "Arguments for a JVM that uses native code. An older one does not warn of it, but of this argument."
  (if (<= 24 (.feature (Runtime/version)))
    ["--enable-native-access=ALL-UNNAMED"]
    []))

(defn start
  "Starts `java <jvm-args> -cp <class-path> clojure.main -e <script>`.

  Options: :jvm-args (strings), :class-path (default: ours), :env (map added to the environment), :dir,
  :java (the command, default: ours)."
  ^Process [script & {:keys [jvm-args class-path env dir java]}]
  (let [class-path (or class-path (System/getProperty "java.class.path"))
        command    (concat [(or java java-command)] jvm-args ["-cp" class-path "clojure.main" "-e" script])
        builder    (ProcessBuilder. ^java.util.List (vec command))]
    (.redirectErrorStream builder true)
    (.putAll (.environment builder) (or env {}))
    (when dir (.directory builder (io/file dir)))
    (.start builder)))

(def ^:private patience-s
  "A JVM that loads Clojure twenty times needs 20 seconds on an idle machine, and over a minute on a busy one."
  300)

(defn finish
  "Waits at most five minutes; returns {:exit int, :out string with both streams}."
  [^Process process]
  (let [out (future (slurp (.getInputStream process)))]
    (when-not (.waitFor process patience-s TimeUnit/SECONDS)
      (.destroyForcibly process)
      (throw (ex-info (str "The JVM did not end within " patience-s " s") {:out (deref out 1000 nil)})))
    {:exit (.exitValue process) :out (str/trim @out)}))

(defn run
  "`start` and `finish`."
  [script & options]
  (finish (apply start script options)))

(defn call-with-server
  "Calls `f` with the process of a server and its port, which `script` prints first. What it prints then is printed."
  [script jvm-args f]
  (let [process (start script :jvm-args (concat jvm-args native-access))]
    (with-open [out (io/reader (.getInputStream process))]
      (try
        (let [port (Long/parseLong (.readLine ^BufferedReader out))]
          (future (run! println (line-seq out)))
          (f process port))
        (finally (.destroyForcibly process))))))
