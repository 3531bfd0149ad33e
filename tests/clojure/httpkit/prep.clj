(ns httpkit.prep
  "Builds what a checkout needs on its classpath: Java classes and the native library.

  Called by tools.deps (`:deps/prep-lib` in deps.edn) and by Leiningen (`:prep-tasks` in project.clj)."
  (:require [clojure.java.io :as io])
  (:import [java.io IOException]))

(def ^:private needed ["build/classes/java/main" "build/native/native/httpkit.properties"])

(def ^:private build-command ["gradle" "--no-daemon" "--console=plain" "prep"])

(defn- run-gradle []
  (try
    (-> (ProcessBuilder. ^java.util.List build-command)
        (.inheritIO)
        (.start)
        (.waitFor))
    (catch IOException _
      ;; Without its cause: Clojure's command line prints the innermost message of a chain, and that one says "error=2".
      (throw (ex-info "Building http-kit needs `gradle` and `cargo` on the PATH; `./dev prep` installs gradle"
                      {:type ::no-gradle})))))

(defn prep
  "Runs `gradle prep` in the current directory. The argument is ignored; tools.deps passes a map."
  [_]
  (let [status (run-gradle)]
    (when-not (zero? status)
      (throw (ex-info (str "gradle prep ended with " status) {:type ::build-failed :status status})))))

(defn -main
  "Does nothing if an earlier build left its output: after changes to Java or Rust, run `gradle prep`."
  []
  (when-not (every? #(.exists (io/file %)) needed)
    (prep nil)))
