(ns httpkit.sse-test
  "Server-sent events, as the server sends them."
  (:require [clojure.string     :as str]
            [clojure.test       :refer [deftest is]]
            [httpkit.wire       :as wire]
            [org.httpkit.server :as server]
            [org.httpkit.sse    :as sse])
  (:import (java.io Closeable)
           (java.util.concurrent LinkedBlockingQueue TimeUnit)))

(set! *warn-on-reflection* true)

(defn- read-chunk
  "The next chunk, as UTF-8."
  [conn]
  (let [size  (Long/parseLong (wire/read-line! conn) 16)
        chunk (String. (wire/read-exactly conn size) "UTF-8")]
    (wire/read-line! conn)
    chunk))

(defn- open-stream!
  "A connection to a stream whose head has been read: the connection with its :head."
  ^Closeable [port]
  (let [conn (wire/connect port)]
    (wire/send! conn (wire/get-request "/"))
    (assoc conn :head (wire/read-head conn))))

(defn- next-of [^LinkedBlockingQueue queue]
  (.poll queue wire/patience-ms TimeUnit/MILLISECONDS))

(defmacro ^:private with-stream
  "Runs `body` with a connection and its stream."
  [[conn stream options] & body]
  `(let [opened# (LinkedBlockingQueue.)]
     (wire/with-server [{port# :port} #(sse/stream % (assoc ~options :on-open (fn [s#] (.put opened# s#)))) {}]
       (with-open [~conn (open-stream! port#)]
         (let [~stream (next-of opened#)]
           ~@body)))))

(deftest the-head-is-sent-before-the-first-event-and-tells-caches-and-proxies-to-pass-events-on
  (with-stream [conn stream nil]
    (let [{:keys [status headers]} (:head conn)]
      (is (= 200 status))
      (is (= ["text/event-stream; charset=utf-8" "no-cache, no-transform" "no" "chunked"]
             (map headers ["content-type" "cache-control" "x-accel-buffering" "transfer-encoding"])))
      (is (server/open? stream)))))

(deftest each-event-is-a-chunk-with-a-field-per-line
  (with-stream [conn stream nil]
    (doseq [[event text] {{:data "a"}                                  "data: a\n\n"
                          {:data ""}                                   "data: \n\n"
                          {:data "a\nb\r\nc\rd\n"}                     "data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n"
                          {:data "a\u2028b\u0085c é 😀"}               "data: a\u2028b\u0085c é 😀\n\n"
                          {:data " leading: x" :event "e v" :id "1:2"} "event: e v\nid: 1:2\ndata:  leading: x\n\n"
                          {:id 42 :retry 0}                            "id: 42\nretry: 0\n\n"
                          {:id "" :data "x"}                           "id: \ndata: x\n\n"
                          {:comment "a\nb"}                            ": a\n: b\n\n"}]
      (is (true? (sse/send! stream event)))
      (is (= text (read-chunk conn))))))

(deftest an-event-that-would-forge-fields-is-refused-by-name-and-the-stream-goes-on
  (with-stream [conn stream nil]
    (doseq [[event named] {{:event "a\ndata: forged"}  #":event .*forged.*: expected a String without CR, LF and NUL"
                           {:event "a\rb"}             #":event"
                           {:id "1\r\n"}               #":id"
                           {:id "\u0000"}              #":id"
                           {:id 1.5}                   #":id 1.5: expected an integer"
                           {:retry -1}                 #":retry -1"
                           {:retry "1\ndata: x"}       #":retry"
                           {:retry 1.5}                #":retry"
                           {:data 5}                   #":data 5: expected a String"
                           {:dat "x"}                  #":dat .*did you mean :data"
                           {}                          #"expected a map"
                           "text"                      #"event \"text\": expected a map"}
            send            [#(sse/send! stream event) #(sse/broadcast! [stream] event)]]
      (is (thrown-with-msg? IllegalArgumentException named (send)) (pr-str event)))
    (sse/send! stream {:data "next"})
    (is (= "data: next\n\n" (read-chunk conn)) "nothing of them was sent")))

(deftest a-broadcast-reaches-every-open-stream-and-counts-them
  (let [opened (LinkedBlockingQueue.)]
    (wire/with-server [{:keys [port]} #(sse/stream % {:on-open (fn [s] (.put opened s))}) {}]
      (with-open [a (open-stream! port), b (open-stream! port), c (open-stream! port)]
        (let [streams (vec (repeatedly 3 #(next-of opened)))]
          (is (= 3 (sse/broadcast! streams {:data "all"})))
          (is (= (repeat 3 "data: all\n\n") (map read-chunk [a b c])))
          (is (true? (sse/close (first streams))))
          (is (false? (sse/send! (first streams) {:data "x"})))
          (is (= 2 (sse/broadcast! streams {:data "rest"})))
          (is (= 0 (sse/broadcast! [] {:data "none"}))))))))

(deftest a-failing-close-callback-does-not-keep-a-broadcast-from-the-other-streams
  (let [opened (LinkedBlockingQueue.)
        handler #(sse/stream % {:on-open           (fn [s] (.put opened s))
                                :on-close          (fn [_ _] (throw (IllegalStateException. "on-close")))
                                :max-pending-bytes 1})]
    (wire/with-server [{:keys [port]} handler {}]
      (with-open [_slow (open-stream! port)]
        (let [slow (next-of opened)]
          ;; More than the kernel takes for a peer that does not read.
          (is (sse/send! slow {:data (String. (char-array (* 16 1024 1024) \x))}))
          (is (pos? (long (server/pending-bytes slow))))
          (with-open [conn (open-stream! port)]
            (is (thrown-with-msg? IllegalStateException #"on-close"
                                  (sse/broadcast! [slow (next-of opened)] {:data "x"})))
            (is (= "data: x\n\n" (read-chunk conn)))))))))

(deftest a-silent-stream-sends-a-comment-and-a-busy-one-does-not
  (with-stream [conn _ {:heartbeat 50}]
    (is (= [":\n\n" ":\n\n"] [(read-chunk conn) (read-chunk conn)])))
  (with-stream [conn stream {:heartbeat 60000}]
    (sse/send! stream {:data "x"})
    (is (= "data: x\n\n" (read-chunk conn)))
    (is (wire/silent? conn 100)))
  (doseq [none [0 nil]]
    (with-stream [conn _ {:heartbeat none}]
      (is (wire/silent? conn 100)))))

(deftest a-heartbeat-finds-out-that-the-peer-is-gone
  (let [heard  (promise)
        opened (promise)]
    (wire/with-server [{:keys [port]} #(sse/stream % {:heartbeat 20
                                                      :on-open   (fn [s] (deliver opened s))
                                                      :on-close  (fn [_ status] (deliver heard status))}) {}]
      (let [conn (open-stream! port)]
        @opened
        (wire/reset!! conn)
        (is (= :client-close (deref heard wire/patience-ms nil)))))))

(deftest retry-comes-first-and-headers-can-be-added-replaced-and-removed
  (with-stream [conn stream {:retry 3000 :headers {"X-More" "yes", "cache-control" "no-store", "X-Accel-Buffering" nil}}]
    (let [{:keys [headers]} (:head conn)]
      (is (= ["yes" "no-store" nil] (map headers ["x-more" "cache-control" "x-accel-buffering"]))))
    (sse/send! stream {:data "x"})
    (is (= ["retry: 3000\n\n" "data: x\n\n"] [(read-chunk conn) (read-chunk conn)]))))

(deftest the-last-event-id-is-the-headers-or-the-query-parameters
  (is (= "7" (sse/last-event-id {:headers {"last-event-id" "7"} :query-string "lastEventId=8"})))
  (is (= "a b+" (sse/last-event-id {:headers {} :query-string "x=1&lastEventId=a%20b%2B&y"})))
  (is (= "%zz" (sse/last-event-id {:headers {} :query-string "lastEventId=%zz"})))
  (is (= "8" (sse/last-event-id {:headers {"last-event-id" ""} :query-string "lastEventId=8"})) "an empty one is none")
  (is (nil? (sse/last-event-id {:headers {"last-event-id" ""} :query-string "lastEventId="})))
  (is (nil? (sse/last-event-id {:headers {} :query-string "lastEventId"})))
  (is (nil? (sse/last-event-id {:headers {} :query-string "lastEventIds=1"})))
  (is (nil? (sse/last-event-id {:headers {}}))))

(deftest the-last-event-id-in-a-header-is-utf-8-if-it-can-be
  (wire/with-server [{:keys [port]} (fn [req] {:body (pr-str (map int (sse/last-event-id req)))}) {}]
    (doseq [[sent read] {"7"                          "7"
                         "\u00c3\u00a9\u00e2\u0082\u00ac" "é€"
                         "\u00f0\u009f\u0098\u0080"        "😀"
                         "caf\u00e9"                      "café"}]
      (is (= (pr-str (map int read)) (:body (wire/fetch port (wire/get-request "/" ["Last-Event-ID" sent])))))))
  (is (= "é€" (sse/last-event-id {:headers {"last-event-id" "é€"}})) "a server that has decoded it"))

(deftest a-peer-that-does-not-read-meets-the-bound-of-its-stream
  (let [drained (promise)
        big     {:data (apply str (repeat 100000 \x))}]
    (with-stream [conn stream {:max-pending-bytes 1000 :on-overflow :reject
                               :on-drain          (fn [s] (deliver drained s))}]
      (is (wire/eventually #(false? (sse/send! stream big))))
      (is (server/open? stream))
      (is (zero? (long (sse/broadcast! [stream] {:data "x"}))))
      (let [reader (future (while (not= "" (read-chunk conn))))]
        (is (= stream (deref drained wire/patience-ms nil)))
        (sse/close stream)
        (is (nil? (deref reader wire/patience-ms :reads)) "the last chunk is the empty one")))))

(deftest head-gets-the-head-alone-and-a-websocket-handshake-is-refused
  (let [opened (atom 0)]
    (wire/with-server [{:keys [port]} #(sse/stream % {:on-open (fn [_] (swap! opened inc))}) {}]
      (with-open [conn (wire/connect port)]
        (wire/send! conn "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n" "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\n"
                    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        (is (= [200 "text/event-stream; charset=utf-8"]
               ((juxt :status #(get-in % [:headers "content-type"])) (wire/answer conn :head? true))))
        (is (= 400 (:status (wire/answer conn))))
        (is (zero? @opened))))))

(deftest wrong-options-of-a-stream-are-named
  (doseq [[opts named] {{:heartbeat -1}      #":heartbeat -1"
                        {:heartbeat "1"}     #":heartbeat \"1\""
                        {:retry "1\n"}       #":retry"
                        {:on-open 5}         #":on-open 5"
                        {:headers ["a" "b"]} #":headers"
                        {:on-receive vector} #":on-receive is no option of sse/stream"
                        {:hartbeat 1}        #"did you mean :heartbeat"
                        5                    #"expected a map"}]
    (is (thrown-with-msg? Exception named (sse/stream {} opts)) (pr-str opts))))

(deftest a-stream-on-a-channel-of-a-users-own-is-refused
  (is (thrown-with-msg? IllegalArgumentException
                        #"^sse/stream on an object of class .*: expected the :async-channel of a request that run-server received$"
                        (sse/stream {:async-channel (reify server/Channel (open? [_] true))} {}))))

(deftest a-request-of-another-server-gets-nil
  (is (nil? (sse/stream {:request-method :get} {}))))

(deftest closing-a-stream-ends-the-response-and-the-connection-serves-on
  (let [handler (fn [{:keys [uri] :as req}]
                  (if (= "/next" uri)
                    {:body "next"}
                    (sse/stream req {:heartbeat 1 :on-open (fn [s] (sse/send! s {:data "bye"}) (sse/close s))})))]
    (wire/with-server [{:keys [port]} handler {}]
      (with-open [conn (wire/connect port)]
        (wire/send! conn (wire/get-request "/"))
        ;; On a busy machine, a millisecond may pass before the end.
        (is (= "data: bye\n\n" (str/replace (:body (wire/answer conn)) ":\n\n" "")))
        (wire/send! conn (wire/get-request "/next"))
        (is (= "next" (:body (wire/answer conn))))
        (is (wire/silent? conn 50) "no heartbeat behind the end")))))
