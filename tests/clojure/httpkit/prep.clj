(ns httpkit.prep
  "Builds what a checkout needs on its classpath: Java classes and the native library.

  Called by tools.deps (`:deps/prep-lib` in deps.edn) and by Leiningen (`:prep-tasks` in project.clj)."
  (:require [clojure.java.io :as io])
  (:import [java.io IOException]))

(def ^:private needed ["build/classes/java/main" "build/native/native/httpkit.properties"])

(defn- run-gradle []
  (try
    (-> (ProcessBuilder. ^java.util.List ["gradle" "--no-daemon" "--console=plain" "prep"])
        (.inheritIO)
        (.start)
        (.waitFor))
    (catch IOException e
      ;; Not as its cause: Clojure shows the innermost cause only, without this message.
      (throw (ex-info (str "Building http-kit needs `gradle` and `cargo` on the PATH, and there is no gradle (on Debian,"
                           " `./dev prep` installs it): " (.getMessage e))
                      {:type ::no-gradle})))))

(defn- build []
  (let [status (run-gradle)]
    (when-not (zero? status)
      (throw (ex-info (str "gradle prep ended with " status) {:type ::build-failed :status status})))))

(defn prep
  "Runs `gradle prep` in the current directory. The argument is ignored; tools.deps passes a map.

  If that fails, prints why and ends the JVM with status 2: tools.deps takes the 1 of an exception for
  \"Prep function could not be resolved\"."
  [_]
  (try
    (build)
    (catch clojure.lang.ExceptionInfo e
      (binding [*out* *err*]
        (println (.getMessage e)))
      (System/exit 2))))

(defn -main
  "Does nothing if an earlier build left its output: after changes to Java or Rust, run `gradle prep`."
  []
  (when-not (every? #(.exists (io/file %)) needed)
    (build)))
