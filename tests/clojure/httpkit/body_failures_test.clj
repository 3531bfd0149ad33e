(ns httpkit.body-failures-test
  "Channels of requests whose body cannot be read to its end: the response, and `on-close`."
  (:require [clojure.string    :as str]
            [clojure.test      :refer [deftest is testing]]
            [httpkit.wire      :as wire]
            [org.httpkit.server :as server])
  (:import (java.util.concurrent Executors)))

(set! *warn-on-reflection* true)

(def ^:private text (str/join (repeat 20 "x")))

(defn- a-chunk [^String text]
  (str (Long/toString (count text) 16) "\r\n" text "\r\n"))

(def ^:private head "POST /up HTTP/1.1\r\nHost: h\r\n")

(def ^:private with-length (str head "Content-Length: 50\r\n\r\n" text))

(def ^:private chunked (str head "Transfer-Encoding: chunked\r\n\r\n" (a-chunk text)))

(def ^:private options {:request-buffer-size 10 :max-body 100})

(def ^:private failures
  ;; about, status, logged errors, options, beginning, rest
  [["a peer that stalls"          408 0 {:body-timeout 200} with-length ""]
   ["a body beyond the maximum"   413 0 {}                  chunked     (a-chunk (str/join (repeat 6 text)))]
   ["broken chunks"               400 0 {}                  chunked     "zz\r\n"]
   ["a function that throws"      500 1 {}                  chunked     (a-chunk "fail")]])

(def ^:private modes
  ;; Functions, since a stop ends the pool too.
  {"own threads"   (constantly {:allow-virtual? false :n-threads 4})
   "default"       (constantly {})
   "a user's pool" #(array-map :worker-pool (Executors/newFixedThreadPool 4))})

(defn- recording
  "A handler that calls `read!` with its request when its channel opens; `log` gets [status open?] of each close."
  [log read!]
  (fn [req]
    (server/as-channel req
      {:on-open  (fn [_] (read! req))
       :on-close (fn [ch status] (swap! log conj [status (server/open? ch)]))})))

(defn- outcome
  "[status of the response, what `log` has then] of a request whose rest is sent once `(begun?)`."
  [port log beginning begun? rest]
  (with-open [conn (wire/connect port)]
    (wire/send! conn beginning)
    (is (wire/eventually begun?))
    (wire/send! conn rest)
    (let [status (:status (wire/answer conn))]
      (is (wire/closed? conn))
      (wire/eventually #(seq @log))
      [status @log])))

(deftest on-close-follows-the-response-to-a-body-that-on-body-cannot-have
  (doseq [[mode mode-options] modes
          [about status logged more beginning rest] failures]
    (testing (str mode ", " about)
      (let [log (atom []), pieces (atom 0)]
        (wire/with-server [{:keys [port errors]}
                           (recording log
                             (fn [req]
                               (server/on-body req
                                 (fn [^bytes bytes _]
                                   (swap! pieces inc)
                                   (when (= "fail" (String. bytes)) (throw (ex-info "own" {})))))))
                           (merge options (mode-options) more)]
          (is (= [status [[:server-close false]]] (outcome port log beginning #(= 1 @pieces) rest)))
          (is (= logged (count @errors))))
        (is (= 1 (count @log)) "nor does the stop call it")))))

(deftest on-close-follows-a-500-of-on-body-whose-body-is-no-stream
  (let [log (atom [])]
    (wire/with-server [{:keys [port]}
                       (recording log (fn [req] (server/on-body req (fn [_ _] (throw (ex-info "own" {}))))))
                       {}]
      (is (= 500 (:status (wire/fetch port (str head "Content-Length: 5\r\n\r\nhello")))))
      (is (wire/eventually #(= [[:server-close false]] @log))))))

(deftest a-peer-that-leaves-within-the-body-of-on-body-is-a-client-close
  (doseq [[mode mode-options] modes
          [how leave!] {"closes" #(.close ^java.io.Closeable %) "half-closes" wire/half-close! "resets" wire/reset!!}]
    (testing (str mode ", it " how)
      (let [log (atom []), pieces (atom 0)]
        (wire/with-server [{:keys [port errors]}
                           (recording log (fn [req] (server/on-body req (fn [_ _] (swap! pieces inc)))))
                           (merge options (mode-options))]
          (with-open [conn (wire/connect port)]
            (wire/send! conn with-length)
            (is (wire/eventually #(= 1 @pieces)))
            (leave! conn)
            (is (wire/eventually #(= [[:client-close false]] @log)) (pr-str @log)))
          (is (= [] @errors)))
        (is (= 1 (count @log)))))))

(deftest on-close-follows-the-response-to-a-body-that-on-open-cannot-read
  ;; Not to a 500: golden cases say so.
  (doseq [[mode mode-options] modes
          [about status _ more beginning rest] (remove #(= 500 (second %)) failures)]
    (testing (str mode ", " about)
      (let [log (atom []), began (promise)]
        (wire/with-server [{:keys [port errors]}
                           (recording log (fn [req] (deliver began true) (slurp (:body req))))
                           (merge options (mode-options) more)]
          (is (= [status [[:server-close false]]] (outcome port log beginning #(realized? began) rest)))
          (is (= [] @errors)))
        (is (= 1 (count @log)))))))

(deftest a-peer-that-leaves-after-its-body-has-failed-is-a-client-close
  (doseq [[about status _ more beginning rest] (remove #(= 500 (second %)) failures)
          ;; A body times out only while something waits for it.
          reads? (if (= 408 status) [true] [true false])]
    (testing (str about (when-not reads? ", unread"))
      (let [log (atom []), began (promise), failed (promise)]
        (wire/with-server [{:keys [port]}
                           (recording log
                             (fn [req]
                               (deliver began true)
                               (when reads?
                                 (try (slurp (:body req)) (catch Exception e (deliver failed e))))))
                           (merge options more)]
          (with-open [conn (wire/connect port)]
            (wire/send! conn beginning)
            (is (wire/eventually #(realized? began)))
            (wire/send! conn rest)
            (when reads? (is (wire/eventually #(realized? failed)))))
          (is (wire/eventually #(= [[:client-close false]] @log)) (pr-str @log)))
        (is (= 1 (count @log)))))))
