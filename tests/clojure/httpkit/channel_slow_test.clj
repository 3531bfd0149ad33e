(ns httpkit.channel-slow-test
  "Bodies of which the peer is slow, and bodies of which the source is."
  (:require [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [httpkit.channel-wire :as wire]
            [org.httpkit.server :as server]
            [ring.core.protocols :as ring])
  (:import (java.io ByteArrayInputStream DataInputStream IOException InputStream OutputStream)
           (java.util Arrays)
           (java.util.concurrent Executors)))

(set! *warn-on-reflection* true)

;;;; Peers that do not read

(def ^:private size (* 8 1024 1024))

(defn- content ^bytes [n]
  (byte-array (map #(unchecked-byte (+ 32 (mod % 90))) (range n))))

(def ^:private long-content (delay (content size)))

(defn- counting-stream
  "The bytes, `closings` counting calls of close."
  ^InputStream [^bytes bytes closings]
  (proxy [ByteArrayInputStream] [bytes]
    (close [] (swap! closings inc))))

(defn- pieces [^bytes bytes n]
  (map #(String. bytes (int %) (int (min (long n) (- (alength bytes) (long %)))) "US-ASCII")
       (range 0 (alength bytes) n)))

(defn- streamable
  "Written by `write`, a function of the stream, which is closed then."
  [write]
  (reify ring/StreamableResponseBody
    (write-body-to-stream [_ _ out]
      (with-open [^OutputStream out out] (write out)))))

(def ^:private kinds
  {"InputStream"            #(counting-stream % (atom 0))
   "seq"                    #(pieces % 1000)
   "seq of one"             #(list (String. ^bytes % "US-ASCII"))
   "StreamableResponseBody" (fn [^bytes bytes] (streamable #(.write ^OutputStream % bytes)))})

(defn- synchronous [f] (fn [req] (f req)))
(defn- asynchronous [f] (fn [req respond _] (respond (f req))))

(defn- modes
  "[handler-of options] of servers that have four threads at most, or as many as they like."
  []
  {"own threads"         [synchronous {:allow-virtual? false :thread 4}]
   "default"             [synchronous {}]
   "a user's pool"       [synchronous {:worker-pool (Executors/newFixedThreadPool 4)}]
   "ring-async"          [asynchronous {:ring-async? true :allow-virtual? false :thread 4}]})

(defn- peers-of
  "Peers that have sent a request for `/long`, and have read nothing or the head."
  [port n]
  (vec (repeatedly n #(doto (wire/connect port :receive-buffer 4096)
                        (wire/write! (wire/get-request "/long"))))))

(defn- app [make]
  (fn [{:keys [uri]}]
    {:body (if (= uri "/long") (make @long-content) "ok")}))

(def ^:private soon-ms
  "Handlers are free: so long a machine under load may take. A peer that does not read is given up after 60 s."
  5000)

(defn- answers-soon? [port]
  (let [start (System/nanoTime)]
    (and (= "ok" (:text (wire/exchange port (wire/get-request "/ok"))))
         (< (quot (- (System/nanoTime) start) 1000000) (long soon-ms)))))

(deftest peers-that-do-not-read-hold-no-thread-of-a-handler
  (doseq [mode        (keys (modes))
          [kind make] kinds
          :let [[handler-of options] (get (modes) mode)]]
    (testing (str mode ", " kind)
      (wire/with-server [{:keys [port errors]} (handler-of (app make)) options]
        (let [peers (peers-of port 40)
              heads (mapv wire/read-head! peers)]
          (is (= [[200 "chunked"]]
                 (distinct (map (juxt :status #(get-in % [:headers "transfer-encoding"])) heads))))
          (is (every? true? (repeatedly 20 #(answers-soon? port))))
          (testing "and get the whole when they read"
            (doseq [[peer head] (take 3 (map vector peers heads))
                    :let [answer (wire/read-body! peer head)]]
              (is (:complete? answer))
              (is (Arrays/equals ^bytes @long-content ^bytes (:bytes answer)))))
          (run! wire/reset peers))
        (is (empty? @errors))))))

(defn- field [object field-name]
  (.get (doto (.getDeclaredField (class object) field-name) (.setAccessible true)) object))

(deftest a-body-that-waited-for-its-peer-leaves-nothing-behind
  (doseq [[about end] {"complete" (fn []), "failed" #(throw (ex-info "no more" {}))}]
    (wire/with-server [{:keys [port server]}
                       (fn [_] {:body (streamable #(do (.write ^OutputStream % ^bytes @long-content) (end)))})
                       {}]
      (let [waiting #(count (-> server (field "channels") (field "drains")))
            conn    (wire/connect port :receive-buffer 4096)]
        (wire/write! conn (wire/get-request "/"))
        (is (wire/eventually #(= 1 (waiting))) "its writer waits")
        (is (= (= "complete" about) (:complete? (wire/read-answer! conn))))
        (is (wire/eventually #(zero? (waiting))) about)
        (wire/disconnect conn)))))

(deftest requests-behind-a-long-body-are-answered-in-order-on-the-same-connection
  (doseq [mode        (keys (modes))
          [kind make] kinds
          :let [[handler-of options] (get (modes) mode)]]
    (testing (str mode ", " kind)
      (wire/with-server [{:keys [port]} (handler-of (app make)) options]
        (let [conn (wire/connect port :receive-buffer 4096)]
          (wire/write! conn (apply str (map wire/get-request ["/ok" "/long" "/ok" "/long" "/ok"])))
          (doseq [expected [2 size 2 size 2]]
            (is (= [true expected] ((juxt :complete? #(count (:bytes %))) (wire/read-answer! conn)))))
          (wire/disconnect conn))))))

(deftest a-source-is-closed-once-when-its-peer-leaves-or-the-server-stops
  (doseq [mode ["own threads" "default" "ring-async"]
          how  [:leaves :stops]
          :let [[handler-of options] (get (modes) mode)
                closings (atom 0)]]
    (testing (str mode ", " how)
      (wire/with-server [{:keys [port server errors]}
                         (handler-of (app #(counting-stream % closings))) options]
        (let [peers (peers-of port 6)]
          (run! wire/read-head! peers)
          (if (= how :leaves)
            (run! wire/disconnect peers)
            (wire/outcome (server/server-stop! server {:timeout 50})))
          (is (wire/eventually #(= 6 @closings)))
          (run! wire/disconnect peers))
        (is (empty? @errors)))
      (is (= 6 @closings)))))

(deftest a-stop-gives-bodies-their-time
  (doseq [mode ["own threads" "default" "ring-async"]
          [kind make] kinds
          :let [[handler-of options] (get (modes) mode)]]
    (testing (str mode ", " kind)
      (wire/with-server [{:keys [port server]} (handler-of (app make)) options]
        (let [conn    (wire/connect port :receive-buffer 4096)
              _       (wire/write! conn (wire/get-request "/long"))
              head    (wire/read-head! conn)
              stopped (future (server/server-stop! server {:timeout wire/patience-ms}))
              answer  (wire/read-body! conn head)]
          (is (= [true size] [(:complete? answer) (count (:bytes answer))]))
          (is (some? (wire/outcome stopped))))))))

(deftest the-caller-of-respond-does-not-wait
  (let [gate    (promise)
        returns (promise)
        never   (proxy [InputStream] []
                  (read ([] (wire/outcome gate) -1)
                        ([_] (wire/outcome gate) -1)
                        ([_ _ _] (wire/outcome gate) -1)))]
    (doseq [[about body] {"a peer that does not read" (repeat (apply str (repeat 1000 "x")))
                          "a slow InputStream"        never
                          "a slow seq"                (lazy-seq (wire/outcome gate) nil)
                          "a slow writer"             (streamable (fn [_] (wire/outcome gate)))}]
      (testing about
        (let [returned (promise)]
          (wire/with-server [{:keys [port]}
                             (fn [_ respond _] (deliver returned (future (respond {:body body}) true)))
                             {:ring-async? true}]
            (let [conn (wire/connect port :receive-buffer 4096)]
              (wire/write! conn (wire/get-request "/"))
              (is (true? (wire/outcome (wire/outcome returned))))
              (deliver gate true)
              (wire/disconnect conn))))))
    (deliver returns true)))

(deftest a-lazy-seq-longer-than-the-heap-is-streamed-as-the-peer-reads
  (let [element (apply str (repeat 65536 "x"))
        n       (quot (* 2 (.maxMemory (Runtime/getRuntime))) 65536)
        n       (min (long n) 20000)]
    (wire/with-server [{:keys [port errors]} (fn [_] {:body (map (fn [_] (str element)) (range n))})
                       {:allow-virtual? false}]
      (let [conn (wire/connect port)
            sum  (atom 0)]
        (wire/write! conn (wire/get-request "/"))
        (let [head (wire/read-head! conn)
              body (wire/read-body! conn head (proxy [OutputStream] []
                                                (write ([b])
                                                       ([_ _ length] (swap! sum + length)))))]
          (is (:complete? body))
          (is (= (* n 65536) @sum)))
        (wire/disconnect conn))
      (is (empty? @errors)))))

;;;; Sources that are slow

(defn- read-bytes! [{:keys [in]} n]
  (let [bytes (byte-array n)]
    (.readFully ^DataInputStream in bytes)
    (String. bytes "US-ASCII")))

(defn- gated-stream
  "An InputStream that gives each of `parts` as soon as its promise is delivered; nil is its end. `closed` is
  delivered at close. An exception is thrown."
  ^InputStream [parts closed]
  (let [left (atom parts)
        more (fn [^bytes buffer start]
               (let [part (wire/outcome (ffirst (swap-vals! left rest)))]
                 (cond (instance? Throwable part) (throw part)
                       (nil? part) -1
                       :else (let [bytes (.getBytes ^String part)]
                               (System/arraycopy bytes 0 buffer (int start) (alength bytes))
                               (alength bytes)))))]
    (proxy [InputStream] []
      (read ([] (throw (UnsupportedOperationException.)))
            ([buffer] (more buffer 0))
            ([buffer start _] (more buffer start)))
      (close [] (deliver closed true)))))

(defn- gated-seq [parts]
  (lazy-seq
    (let [part (wire/outcome (first parts))]
      (cond (instance? Throwable part) (throw part)
            (some? part) (cons part (gated-seq (rest parts)))))))

(defn- gated-writer [parts]
  (streamable (fn [^OutputStream out]
                (loop [[gate & more] parts]
                  (when-let [part (wire/outcome gate)]
                    (when (instance? Throwable part) (throw part))
                    (.write out (.getBytes ^String part))
                    (recur more))))))

(def ^:private gated
  {"InputStream"            #(gated-stream % (promise))
   "seq"                    gated-seq
   "StreamableResponseBody" gated-writer})

(defn- chunk-of [^String part]
  (str (Integer/toHexString (count part)) "\r\n" part "\r\n"))

(deftest what-a-silent-source-has-given-leaves-and-each-part-after-it-at-once
  (doseq [mode        (keys (modes))
          [kind make] gated
          :let [[handler-of options] (get (modes) mode)
                gates (vec (repeatedly 4 promise))]]
    (testing (str mode ", " kind)
      (wire/with-server [{:keys [port errors]} (handler-of (fn [_] {:status 201 :body (make gates)})) options]
        (let [conn (wire/connect port)]
          (wire/write! conn (wire/get-request "/"))
          (deliver (gates 0) "first")
          (is (= [201 "chunked"] ((juxt :status #(get-in % [:headers "transfer-encoding"])) (wire/read-head! conn))))
          (is (= (chunk-of "first") (read-bytes! conn 10)))
          (deliver (gates 1) "second")
          (is (= (chunk-of "second") (read-bytes! conn 11)))
          (deliver (gates 2) "third")
          (is (= (chunk-of "third") (read-bytes! conn 10)))
          (deliver (gates 3) nil)
          (is (= "0\r\n\r\n" (read-bytes! conn 5)))
          (wire/disconnect conn))
        (is (empty? @errors))))))

(deftest a-quick-source-has-a-length-however-late-it-begins
  (doseq [mode        (keys (modes))
          [kind make] gated
          :let [[handler-of options] (get (modes) mode)
                gates (vec (repeatedly 3 promise))]]
    (testing (str mode ", " kind)
      (wire/with-server [{:keys [port]} (handler-of (fn [_] {:body (make gates)})) options]
        (let [conn (wire/connect port)]
          (wire/write! conn (wire/get-request "/"))
          (Thread/sleep 150) ; longer than a source may be silent
          (deliver (gates 2) nil)
          (deliver (gates 1) "b")
          (deliver (gates 0) "a")
          (is (= [:length "ab"] ((juxt :framing :text) (wire/read-answer! conn))))
          (wire/disconnect conn))))))

(deftest an-event-stream-is-opened-before-its-first-event
  (doseq [mode        (keys (modes))
          [kind make] gated
          value       ["text/event-stream" "Text/Event-Stream; charset=utf-8"]
          :let [[handler-of options] (get (modes) mode)
                gates (vec (repeatedly 2 promise))]]
    (testing (str mode ", " kind)
      (wire/with-server [{:keys [port]}
                         (handler-of (fn [_] {:headers {"content-type" value} :body (make gates)})) options]
        (let [conn (wire/connect port)]
          (wire/write! conn (wire/get-request "/"))
          (is (= value (get-in (wire/read-head! conn) [:headers "content-type"])))
          (deliver (gates 0) "data: 1\n\n")
          (is (= (chunk-of "data: 1\n\n") (read-bytes! conn 14)))
          (deliver (gates 1) nil)
          (is (= "0\r\n\r\n" (read-bytes! conn 5)))
          (wire/disconnect conn))))))

(deftest event-streams-whose-sources-are-slow-hold-no-thread-of-a-handler
  (doseq [[mode [handler-of options]] (modes)
          [kind make] gated]
    (testing (str mode ", " kind)
      (let [end (promise)]
        (wire/with-server [{:keys [port]}
                           (handler-of (fn [{:keys [uri]}]
                                         (if (= uri "/long")
                                           {:headers {"Content-Type" "text/event-stream"} :body (make (repeat end))}
                                           {:body "ok"})))
                           (dissoc options :worker-pool)]
          (let [peers (peers-of port 40)]
            (is (= [200] (distinct (map (comp :status wire/read-head!) peers))))
            (is (every? true? (repeatedly 20 #(answers-soon? port))))
            (deliver end nil)
            (run! wire/disconnect peers)))))))

(deftest head-of-a-slow-source-is-answered-without-its-length
  (doseq [[kind make] gated
          :let [gates (vec (repeatedly 3 promise))]]
    (testing kind
      (wire/with-server [{:keys [port errors]} (fn [_] {:body (make gates)}) {}]
        (let [conn (wire/connect port)]
          (wire/write! conn "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
          (deliver (gates 0) "first")
          (is (= [200 nil] ((juxt :status #(get-in % [:headers "content-length"])) (wire/read-head! conn))))
          (deliver (gates 1) "second")
          (wire/write! conn (wire/get-request "/"))
          (deliver (gates 2) nil)
          (is (= 200 (:status (wire/read-head! conn))))
          (wire/disconnect conn))
        (is (empty? @errors))))))

(deftest head-of-an-event-stream-is-answered-at-once-and-its-source-closed-unread
  (let [closed (promise)]
    (wire/with-server [{:keys [port errors]}
                       (fn [_] {:headers {"Content-Type" "text/event-stream"} :body (gated-stream [(promise)] closed)})
                       {}]
      (let [conn (wire/connect port)]
        (wire/write! conn "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
        (is (= 200 (:status (wire/read-head! conn))))
        (is (true? (wire/outcome closed)))
        (wire/disconnect conn))
      (is (empty? @errors)))))

(deftest a-slow-source-that-fails-is-a-500-or-a-cut
  (doseq [mode        (keys (modes))
          [kind make] gated
          thrown      [(IOException. "no disk") (ex-info "no luck" {})]
          begun?      [false true]
          :let [[handler-of options] (get (modes) mode)
                gates (vec (repeatedly 2 promise))]]
    (testing (str mode ", " kind ", " begun? " " (ex-message thrown))
      (wire/with-server [{:keys [port errors]} (handler-of (fn [_] {:body (make (if begun? gates (rest gates)))})) options]
        (let [conn (wire/connect port)]
          (wire/write! conn (wire/get-request "/"))
          (if begun?
            (do (deliver (gates 0) "first")
                (let [head (wire/read-head! conn)]
                  (is (= (chunk-of "first") (read-bytes! conn 10)))
                  (deliver (gates 1) thrown)
                  (is (not (:complete? (wire/read-body! conn head))))))
            (do (deliver (gates 1) thrown)
                (is (= [500 (ex-message thrown)] ((juxt :status :text) (wire/read-answer! conn))))))
          (is (wire/eventually #(= [["GET /" thrown]] @errors)))
          (wire/disconnect conn))))))

(deftest http-1-0-gets-a-slow-source-until-the-connection-ends
  (let [gates (vec (repeatedly 3 promise))]
    (wire/with-server [{:keys [port]} (fn [_] {:body (gated-seq gates)}) {}]
      (let [conn (wire/connect port)]
        (wire/write! conn "GET / HTTP/1.0\r\n\r\n")
        (deliver (gates 0) "first")
        (is (= "Close" (get-in (wire/read-head! conn) [:headers "connection"])))
        (is (= "first" (read-bytes! conn 5)))
        (deliver (gates 1) "second")
        (deliver (gates 2) nil)
        (is (= "second" (read-bytes! conn 6)))
        (is (wire/ended? conn))))))

(deftest an-asynchronous-writer-that-is-silent-after-its-return-is-heard
  (let [gate (promise)]
    (wire/with-server [{:keys [port]}
                       (fn [_ respond _]
                         (respond {:body (reify ring/StreamableResponseBody
                                           (write-body-to-stream [_ _ out]
                                             (future
                                               (with-open [^OutputStream out out]
                                                 (.write out (.getBytes "first"))
                                                 (wire/outcome gate)
                                                 (.write out (.getBytes "second"))))))}))
                       {:ring-async? true}]
      (let [conn (wire/connect port)]
        (wire/write! conn (wire/get-request "/"))
        (wire/read-head! conn)
        (is (= (chunk-of "first") (read-bytes! conn 10)))
        (deliver gate true)
        (is (= (str (chunk-of "second") "0\r\n\r\n") (read-bytes! conn 16)))
        (wire/disconnect conn)))))

(deftest statuses-of-bodies-are-counted-once
  (doseq [mode        (keys (modes))
          [kind make] (merge kinds {"failing" (fn [_] (lazy-seq (throw (ex-info "no" {}))))})
          :let [[handler-of options] (get (modes) mode)
                events (atom [])]]
    (testing (str mode ", " kind)
      (wire/with-server [{:keys [port]} (handler-of (fn [_] {:status 203 :body (make (content 400000))}))
                         (assoc options :event-logger #(swap! events conj %))]
        (wire/exchange port (wire/get-request "/"))
        (is (wire/eventually #(seq @events))))
      (is (= [(if (= kind "failing") "httpkit.server.status.500" "httpkit.server.status.processed.203")]
             (filter #(str/starts-with? % "httpkit.server.status") @events))))))
