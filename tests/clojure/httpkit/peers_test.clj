(ns httpkit.peers-test
  "curl as a peer: a client that nobody here wrote, with habits of its own."
  (:require [clojure.java.io    :as io]
            [clojure.java.shell :refer [sh]]
            [clojure.string     :as str]
            [clojure.test       :refer [deftest is testing use-fixtures]]
            [demo.app           :as demo]
            [org.httpkit.server :as server])
  (:import [java.io File]
           [java.util Arrays]))

(def ^:dynamic ^:private *url* nil)

(defn- handler [{:keys [uri body request-method] :as req}]
  (case uri
    "/echo"   {:status 200 :headers {"X-Method" (name request-method)} :body body}
    "/stream" {:status 200 :body (map #(str "part " % "\n") (range 1000))}
    (demo/handler req)))

(use-fixtures :once
  (fn [run]
    (let [stop! (server/run-server handler {:port 0 :ip "127.0.0.1" :max-body 20000000})]
      (binding [*url* (str "http://127.0.0.1:" (:local-port (meta stop!)))]
        (try (run) (finally (stop!)))))))

(defn- curl
  "Standard output of curl, which must succeed."
  [& args]
  (let [{:keys [exit out err]} (apply sh "curl" "--silent" "--show-error" "--max-time" "30" args)]
    (is (zero? exit) err)
    out))

(defn- temp-file ^File [size]
  (let [file (doto (File/createTempFile "peers" ".bin") (.deleteOnExit))]
    (with-open [out (io/output-stream file)]
      (.write out (byte-array (map unchecked-byte (range size)))))
    file))

(defn- same-bytes? [^File a ^File b]
  (Arrays/equals (java.nio.file.Files/readAllBytes (.toPath a)) (java.nio.file.Files/readAllBytes (.toPath b))))

(deftest get-head-and-unknown-paths
  (is (str/includes? (curl (str *url* "/json?a=b")) "\"query-string\": \"a=b\""))
  (is (re-find #"(?i)^HTTP/1.1 200 .*\r\n(?s).*content-length: [1-9]" (curl "--head" (str *url* "/"))))
  (is (= "404" (curl "--output" "/dev/null" "--write-out" "%{http_code}" (str *url* "/none")))))

(deftest uploads-come-back-byte-for-byte
  (let [file (temp-file 3000000)
        back (temp-file 0)]
    (doseq [[habit args] {"with Content-Length"       ["--data-binary" (str "@" file)]
                          "with Expect: 100-continue" ["--header" "Expect: 100-continue" "--data-binary" (str "@" file)]
                          "chunked"                   ["--header" "Transfer-Encoding: chunked" "--upload-file" (str file)]
                          "as HTTP/1.0"               ["--http1.0" "--data-binary" (str "@" file)]}]
      (testing habit
        (apply curl "--output" (str back) (concat args [(str *url* "/echo")]))
        (is (same-bytes? file back))))))

(deftest a-form-upload-is-understood
  (let [file (temp-file 1000)]
    (is (str/includes? (curl "--form" (str "file=@" file ";filename=a name.bin") (str *url* "/upload")) "a name.bin"))))

(deftest one-connection-carries-many-requests
  (let [out      (apply curl "--write-out" "\nconnects=%{num_connects}\n" (repeat 5 (str *url* "/json")))
        connects (map (comp #(Long/parseLong %) second) (re-seq #"connects=(\d+)" out))]
    (is (= [1 0 0 0 0] connects))))

(deftest a-sequence-body-arrives-in-order
  (is (= (str/join (map #(str "part " % "\n") (range 1000))) (curl (str *url* "/stream")))))

(deftest a-slow-stream-arrives-whole
  (is (= 20 (count (str/split-lines (curl (str *url* "/slow")))))))

(deftest a-body-over-the-limit-is-refused
  (let [file (temp-file 20000001)]
    (is (= "413" (:out (sh "curl" "--silent" "--max-time" "30" "--output" "/dev/null" "--write-out" "%{http_code}"
                           "--data-binary" (str "@" file) (str *url* "/echo")))))))
