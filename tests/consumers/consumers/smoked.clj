(ns consumers.smoked
  "Runs the program tests/platforms/smoke.clj, server and client with TLS, WebSockets, files and streams, the way that a
  test deploys it."
  (:require [clojure.java.io    :as io]
            [clojure.string     :as str]
            [clojure.test       :refer [is]]
            [httpkit.subprocess :as subprocess]
            [httpkit.tls-certs  :as certs])
  (:import (java.io File)
           (java.nio.file Files)
           (java.nio.file.attribute FileAttribute)))

(def sources "tests/platforms")

(def ^:private platform
  (let [arch (System/getProperty "os.arch")]
    (str "linux-" (get {"amd64" "x86_64", "arm64" "aarch64"} arch arch))))

(defn run
  "Output and exit code of a command, given as a vector of strings."
  [command & {:keys [dir]}]
  (let [builder (doto (ProcessBuilder. ^java.util.List (mapv str command)) (.redirectErrorStream true))]
    (.remove (.environment builder) "CLASSPATH")
    (when dir (.directory builder (io/file dir)))
    (subprocess/finish (.start builder))))

(defn serves
  "Asserts that the program passes all its checks when it is started by `command`."
  [command]
  (let [{:keys [exit out]} (run (concat command [platform (certs/path "server.pem") (certs/path "server.key") 20]))]
    (is (zero? exit) out)
    (is (re-find #"(?m)^1\d passed, 0 failed$" out) out)))

(defn class-path [paths]
  (str/join ":" (map str paths)))

(defn from-class-path
  "The command that runs the program from its sources on this `java`."
  [java & paths]
  [java "-cp" (class-path (cons sources paths)) "clojure.main" "-m" "smoke"])

(defn with-directory [f]
  (let [dir (.toFile (Files/createTempDirectory "consumers" (make-array FileAttribute 0)))]
    (try
      (f dir)
      (finally (run! #(.delete ^File %) (reverse (file-seq dir)))))))
