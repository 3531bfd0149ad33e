(ns httpkit.access-log-pipe-test
  "`:access-log` may be a named pipe: its reader gets all lines, and one that is missing holds nothing."
  (:require [clojure.java.io    :as io]
            [clojure.java.shell :refer [sh]]
            [clojure.test       :refer [deftest is testing]]
            [httpkit.wire       :as wire]
            [org.httpkit.server :as server])
  (:import (java.io BufferedReader File FileInputStream)
           (java.nio.file Files)
           (java.nio.file.attribute FileAttribute)))

(set! *warn-on-reflection* true)

(defn- named-pipe ^File []
  (let [pipe (io/file (.toFile (Files/createTempDirectory "access-log" (make-array FileAttribute 0))) "pipe")]
    (is (zero? (:exit (sh "mkfifo" (str pipe)))))
    pipe))

(defn- start-with-pipe
  "Starts a server that logs to `pipe`. Throws instead of hanging if opening the pipe blocks."
  [pipe]
  (let [server (future (wire/start (fn [_] {:body "hello"}) {:access-log {:file pipe :format :common}}))]
    (or (deref server wire/patience-ms nil)
        (throw (ex-info "The server does not start." {})))))

(defn- log-threads []
  (count (filter #(= "http-kit-server-access-log" (.getName ^Thread %)) (keys (Thread/getAllStackTraces)))))

(defn- read-lines
  "Reads `pipe` to its end, on a thread, which is its value; adds its lines to `lines`."
  [pipe lines]
  (future (with-open [in (io/reader pipe)]
            (run! #(swap! lines conj %) (line-seq in)))))

(defn- uris [lines]
  (map #(second (re-find #"^127.0.0.1 .* \"GET (/\S*) HTTP/1.1\" 200 5$" %)) lines))

(deftest the-reader-of-a-named-pipe-gets-all-lines
  (doseq [early? [true false]]
    (testing (if early? "that waits for the server" "that comes later")
      (let [pipe   (named-pipe)
            lines  (atom [])
            reader (delay (read-lines pipe lines))]
        (when early? @reader)
        (let [{:keys [port server] :as started} (start-with-pipe pipe)
              sent (map #(str "/" %) (range 5))]
          (run! #(wire/fetch port %) sent)
          @reader
          (is (wire/eventually #(= sent (uris @lines))))
          (is (not (realized? @reader)))
          (wire/stop started)
          (is (not= :open (deref @reader wire/patience-ms :open)))
          (is (= {:entries 5 :lost 0} (:access-log (server/server-stats server)))))))))

(deftest a-reader-of-a-named-pipe-may-go-and-another-come
  (let [pipe  (named-pipe)
        lines (atom [])
        first (future (with-open [in (io/reader pipe)] (.readLine ^BufferedReader in)))
        {:keys [port server errors warnings] :as started} (start-with-pipe pipe)]
    (wire/fetch port "/first")
    (is (= ["/first"] (uris [(deref first wire/patience-ms "")])))
    (wire/fetch port "/between")
    (read-lines pipe lines)
    (wire/fetch port "/second")
    (is (wire/eventually #(= ["/between" "/second"] (uris @lines))))
    (wire/stop started)
    (is (= {:entries 3 :lost 0} (:access-log (server/server-stats server))))
    (is (= [[] []] [@errors @warnings]))))

(defn- lost-of
  "Of `n` requests: how many lines were lost when the server had stopped, which the logger must have been told."
  [n pipe await-reader]
  (let [threads (log-threads)
        {:keys [port server warnings errors] :as started} (start-with-pipe pipe)]
    (wire/fetch port "/")
    (await-reader)
    (with-open [conn (wire/connect port)]
      (dotimes [_ (dec (long n))]
        (wire/send! conn (wire/get-request "/"))
        (is (= 200 (:status (wire/answer conn))))))
    (is (not= :not-stopped (wire/stop started)))
    (is (wire/eventually #(<= (long (log-threads)) (long threads))))
    (let [{:keys [entries lost]} (:access-log (server/server-stats server))]
      (is (= n entries))
      (is (= [[(str ":access-log: " lost " entries were lost, because they could not be written in time") nil]] @warnings))
      (is (= [] @errors))
      lost)))

(deftest what-a-named-pipe-without-a-reader-does-not-take-is-lost-and-holds-no-stop
  (is (= 5 (lost-of 5 (named-pipe) (fn [])))))

(deftest what-a-full-named-pipe-does-not-take-is-lost-and-holds-no-stop
  (let [n      2000
        pipe   (named-pipe)
        reader (future (FileInputStream. pipe))
        lost   (lost-of n pipe #(is (wire/eventually (fn [] (pos? (.available ^FileInputStream @reader))))))]
    (is (< 0 lost n))
    (with-open [in ^FileInputStream @reader]
      (is (= (- n (long lost)) (count (re-seq #"\n" (slurp in))))))))
