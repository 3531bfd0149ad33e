(ns httpkit.dev-test
  "`./dev` on machines that lack something: it says what, and what to do."
  (:require [clojure.java.io  :as io]
            [clojure.string   :as str]
            [clojure.test     :refer [deftest is]])
  (:import (java.io File)
           (java.nio.file Files)
           (java.nio.file.attribute FileAttribute)
           (java.util Map)))

(set! *warn-on-reflection* true)

(defn- run
  "[status output] of `./dev` with arguments; `change` may edit its environment."
  [change & args]
  (let [builder (doto (ProcessBuilder. ^java.util.List (vec (cons "./dev" args)))
                  (.redirectErrorStream true))]
    (change (.environment builder))
    (let [process (.start builder)]
      (.close (.getOutputStream process))
      (let [output (slurp (.getInputStream process))]
        [(.waitFor process) output]))))

(defn- with-commands
  "Puts a folder of scripts, name -> body, in front of the PATH."
  [scripts]
  (let [folder (.toFile (Files/createTempDirectory "commands" (make-array FileAttribute 0)))]
    (doseq [[command body] scripts
            :let [file (io/file folder command)]]
      (spit file (str "#!/bin/sh\n" body "\n"))
      (.setExecutable ^File file true))
    (fn [^Map environment]
      (.put environment "PATH" (str folder ":" (.get environment "PATH"))))))

(deftest an-old-rust-is-named-with-the-one-that-is-needed
  (let [wanted          (second (re-find #"rust-version = \"(.*)\"" (slurp "Cargo.toml")))
        [status output] (run (with-commands {"cargo" "echo cargo 1.60.0"}) "rust-fmt")]
    (is (= 1 status))
    (is (str/includes? output (str "needs Rust " wanted " or later, found 1.60.0: rustup update stable")))
    (doseq [page ["README.md" "CONTRIBUTING.md"]]
      (is (str/includes? (slurp page) (str "Rust " wanted " or later")) page))))

(deftest all-missing-packages-are-named-at-once-to-those-who-cannot-install-them
  (let [hidden          (with-commands {"id" "echo 1000", "sudo" "exit 1"})
        hide-sudo       (fn [^Map environment]
                          (hidden environment)
                          ;; Only what the script itself needs, so that tools of the machine are missing.
                          (let [folder (first (str/split (.get environment "PATH") #":"))]
                            (.delete (io/file folder "sudo"))
                            (doseq [tool ["bash" "sed" "sort" "cut" "head" "getent" "readlink" "dirname" "env" "uniq" "cargo" "apt-get"]
                                    :let [found (first (filter #(.canExecute ^File %)
                                                               (map #(io/file % tool) (str/split (System/getenv "PATH") #":"))))]
                                    :when found]
                              (Files/createSymbolicLink (.toPath (io/file folder tool)) (.toPath ^File found)
                                                        (make-array FileAttribute 0)))
                            (.put environment "PATH" folder)))
        [status output] (run hide-sudo "test")
        line            (first (filter #(str/includes? % "apt-get install") (str/split-lines output)))]
    (is (= 1 status))
    (doseq [package ["gradle" "curl" "chromium" "openssl" "shellcheck"]]
      (is (str/includes? (str line) (str " " package)) output))))

(deftest no-home-is-no-reason-to-fail
  (let [[status output] (run (fn [^Map environment] (.remove environment "HOME")) "classpath")]
    (is (= 0 status) output)
    (is (str/includes? output "clojure"))))

(deftest the-summary-tells-what-failed-however-much-did
  (let [log    (File/createTempFile "failures" ".log")
        failed (fn [test line] (str "FAIL in (" test ") (x.clj:" line ")\nexpected: " test "\n"))
        told   (fn [text]
                 (spit log text)
                 (let [command ["bash" "-euo" "pipefail" "-c" ". dev.d/summary.sh; failures step \"$0\"" (str log)]
                       process (.start (ProcessBuilder. ^java.util.List command))]
                   (is (= 0 (.waitFor process)))
                   (slurp (.getInputStream process))))]
    (try
      (is (= "" (told "Testing x\n12 passed, 0 failed\n")))
      (is (= "--- failed in step\nFAIL in (a) (x.clj:1)\nexpected: a\n"
             (told (str "Testing x\n" (failed "a" 1)))))
      (let [many (told (str/join (concat (repeat 2000 (failed "a" 1)) (map #(failed "b" %) (range 100)))))]
        (is (str/includes? many "FAIL in (a) (x.clj:1)\nexpected: a\n"))
        (is (str/includes? many "... 2000 times\n"))
        (is (str/ends-with? many "... and at 86 other places\n"))
        (is (> 150 (count (str/split-lines many))) "what CI shows is its last 200 lines"))
      (finally (.delete log)))))
