(ns httpkit.channel-body-test
  "Response bodies that may be long: InputStream, seq, File and Ring's StreamableResponseBody."
  (:require [clojure.java.io :as io]
            [clojure.string :as str]
            [clojure.test :refer [deftest is testing]]
            [httpkit.channel-wire :as wire]
            [httpkit.files :as files]
            [org.httpkit.server :as server]
            [ring.core.protocols :as ring])
  (:import (java.io ByteArrayInputStream File IOException InputStream OutputStream)
           (java.util Arrays)))

(set! *warn-on-reflection* true)

(def ^:private keep-bytes 1000)

(defn- content ^bytes [n]
  (byte-array (map #(unchecked-byte (+ 32 (mod % 90))) (range n))))

(defn- source
  "An InputStream: `(read-into buffer start length)` is its read, `(close)` its close."
  ^InputStream [read-into close]
  (proxy [InputStream] []
    (read
      ([]       (let [one (byte-array 1)]
                  (if (pos? (long (read-into one 0 1))) (bit-and 0xff (aget one 0)) -1)))
      ([buffer] (read-into buffer 0 (alength ^bytes buffer)))
      ([buffer start length] (read-into buffer start length)))
    (close [] (close))))

(defn- counting-stream
  "The bytes, `closings` counting calls of close."
  ^InputStream [^bytes bytes closings]
  (proxy [ByteArrayInputStream] [bytes]
    (close [] (swap! closings inc))))

(defn- streamable [^bytes bytes]
  (reify ring/StreamableResponseBody
    (write-body-to-stream [_ _ out]
      (with-open [^OutputStream out out]
        (.write out bytes)))))

(def ^:private kinds
  {"InputStream"            #(ByteArrayInputStream. %)
   "seq"                    (fn [bytes] (map #(String. (byte-array %) "US-ASCII") (partition-all 7 bytes)))
   "File"                   files/temporary-file
   "StreamableResponseBody" streamable})

(defn- answers
  "A handler that answers with status 200 and what `make-body` returns."
  [make-body]
  (fn [_] {:status 200 :headers {"Content-Type" "text/plain"} :body (make-body)}))

(deftest bodies-around-the-buffer-size-arrive-whole
  (doseq [[kind make] kinds
          size        [0 1 (dec keep-bytes) keep-bytes (inc keep-bytes) (* 300 keep-bytes)]
          :let [bytes (content size)]]
    (wire/with-server [{:keys [port errors]} (answers #(make bytes)) {:body-buffer-size keep-bytes}]
      (testing (str kind " of " size)
        (let [{:keys [status headers framing complete?] :as answer} (wire/exchange port (wire/get-request "/"))]
          (is (= [200 "text/plain"] [status (get headers "content-type")]))
          (is complete?)
          (is (Arrays/equals bytes ^bytes (:bytes answer)))
          (is (= (if (or (<= size keep-bytes) (= kind "File")) :length :chunked) framing))
          (is (empty? @errors)))))))

(defrecord ^:private Page [text]
  ring/StreamableResponseBody
  (write-body-to-stream [_ _ out] (with-open [^OutputStream out out] (.write out (.getBytes ^String text)))))

(defrecord ^:private Extended [text])

(extend-type Extended
  ring/StreamableResponseBody
  (write-body-to-stream [{:keys [text]} _ out] (with-open [^OutputStream out out] (.write out (.getBytes ^String text)))))

(defrecord ^:private Plain [text])

(deftest a-record-of-rings-protocol-writes-itself-and-other-maps-are-sequences
  (doseq [[body text] [[(->Page "page") "page"] [(->Extended "page") "page"] [(->Plain "x") "[:text \"x\"]"]
                       [{:text "x"} "[:text \"x\"]"] [[1 "x"] "1x"]
                       [(proxy [ByteArrayInputStream ring.core.protocols.StreamableResponseBody] [(content 9)]
                          (write_body_to_stream [_ out] (with-open [^OutputStream out out] (.write out (.getBytes "page")))))
                        "page"]]]
    (wire/with-server [{:keys [port errors]} (answers (constantly body)) {}]
      (is (= [text true] ((juxt :text :complete?) (wire/exchange port (wire/get-request "/")))) (class body))
      (is (empty? @errors)))))

(deftest a-buffer-of-nothing-streams-everything
  (doseq [[kind make] kinds]
    (wire/with-server [{:keys [port]} (answers #(make (content 1))) {:body-buffer-size 0}]
      (is (= [(if (= kind "File") :length :chunked) 1 true]
             ((juxt :framing #(count (:bytes %)) :complete?) (wire/exchange port (wire/get-request "/"))))
          kind))))

(deftest http-1-0-gets-long-bodies-without-chunks
  (doseq [[kind make] kinds
          :let [bytes (content (* 50 keep-bytes))]]
    (wire/with-server [{:keys [port]} (answers #(make bytes)) {:body-buffer-size keep-bytes}]
      (let [answer (wire/exchange port "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")]
        (is (= (if (= kind "File") :length :close) (:framing answer)) kind)
        (is (= (if (= kind "File") "Keep-Alive" "Close") (get-in answer [:headers "connection"])) kind)
        (is (Arrays/equals bytes ^bytes (:bytes answer)) kind)))))

(deftest connection-close-is-said-and-done-after-a-streamed-body
  (doseq [[kind make] kinds]
    (wire/with-server [{:keys [port]} (answers #(make (content (* 50 keep-bytes)))) {:body-buffer-size keep-bytes}]
      (let [conn (wire/connect port)]
        (wire/write! conn (wire/get-request "/" "Connection: close"))
        (let [answer (wire/read-answer! conn)]
          (is (= ["Close" true] [(get-in answer [:headers "connection"]) (:complete? answer)]) kind)
          (is (wire/ended? conn) kind))))))

(deftest head-gets-the-length-of-what-fits-and-never-a-body
  (doseq [[kind make] kinds
          size        [10 (* 50 keep-bytes)]]
    (wire/with-server [{:keys [port]} (answers #(make (content size))) {:body-buffer-size keep-bytes}]
      (let [conn (wire/connect port)]
        (wire/write! conn "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
        (let [{:keys [status headers]} (wire/read-head! conn)]
          (is (= 200 status))
          (is (contains? #{(str size) nil} (get headers "content-length")) (str kind " " size))
          (when (or (= size 10) (= kind "File"))
            (is (= (str size) (get headers "content-length")) kind)))
        (wire/write! conn (wire/get-request "/"))
        (is (= size (count (:bytes (wire/read-answer! conn)))) "the next answer follows the head at once")))))

(deftest head-of-an-endless-body-is-answered
  (let [closings (atom 0)
        handler  (fn [{:keys [uri]}]
                   {:body (if (= uri "/seq")
                            (repeat "more")
                            (source (fn [_ _ length] length) #(swap! closings inc)))})]
    (wire/with-server [{:keys [port errors]} handler {}]
      (doseq [uri ["/stream" "/seq"]]
        (let [conn (wire/connect port)]
          (wire/write! conn (str "HEAD " uri " HTTP/1.1\r\nHost: h\r\n\r\n"))
          (is (= [200 nil] ((juxt :status #(get-in % [:headers "content-length"])) (wire/read-head! conn))) uri)
          (wire/disconnect conn)))
      (is (= 1 @closings))
      (is (empty? @errors)))))

(deftest answers-without-content-close-the-stream-unread
  (doseq [status [204 205 304]]
    (let [closings (atom 0)]
      (wire/with-server [{:keys [port]} (fn [_] {:status status :body (counting-stream (content 10) closings)}) {}]
        (let [conn (wire/connect port)]
          (wire/write! conn (wire/get-request "/"))
          (is (= status (:status (wire/read-head! conn))))
          (is (wire/eventually #(= 1 @closings)) (str status)))))))

(deftest a-stream-is-closed-exactly-once
  (doseq [[about handler-of request]
          [["short"            (fn [in] {:body in})                                (wire/get-request "/")]
           ["HEAD"             (fn [in] {:body in})                                "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n"]
           ["a bad header"     (fn [in] {:headers {"a" "b\r\nc"} :body in})        (wire/get-request "/")]
           ["a bad status"     (fn [in] {:status 77 :body in})                     (wire/get-request "/")]
           ["bad header names" (fn [in] {:headers {:keyword "x"} :body in})        (wire/get-request "/")]]]
    (doseq [size [10 (* 20 keep-bytes)]]
      (let [closings (atom 0)
            handler  (fn [_] (handler-of (counting-stream (content size) closings)))]
        (wire/with-server [{:keys [port]} handler {:body-buffer-size keep-bytes}]
          (let [conn (wire/connect port)]
            (wire/write! conn request)
            (is (:status (wire/read-head! conn)) about)
            (is (wire/eventually #(pos? (long @closings))) (str about " " size))
            (wire/disconnect conn)))
        (is (= 1 @closings) (str about " " size))))))

(deftest a-stream-is-closed-when-the-channel-has-already-answered
  (let [closings (atom 0)]
    (wire/with-server [{:keys [port]}
                       (fn [req]
                         (server/send! (:async-channel req) "first")
                         {:body (counting-stream (content 10) closings)})
                       {}]
      (is (= "first" (:text (wire/exchange port (wire/get-request "/")))))
      (is (wire/eventually #(= 1 @closings))))))

(defn- failing-stream
  "Bytes, then an exception; `closings` counts calls of close."
  [n ^Throwable thrown closings]
  (let [left (atom n)]
    (source (fn [^bytes buffer start length]
              (let [n (min (long length) (long @left))]
                (when (zero? n) (throw thrown))
                (Arrays/fill buffer (int start) (int (+ (long start) n)) (byte 65))
                (swap! left - n)
                n))
            #(swap! closings inc))))

(deftest a-body-that-fails-before-its-first-byte-leaves-is-a-500
  (doseq [thrown [(IOException. "no disk") (ex-info "no luck" {}) (AssertionError. "no way")]
          n      [0 (dec keep-bytes)]]
    (let [closings (atom 0)]
      (wire/with-server [{:keys [port errors]} (fn [_] {:body (failing-stream n thrown closings)})
                         {:body-buffer-size keep-bytes}]
        (let [conn (wire/connect port)]
          (wire/write! conn (wire/get-request "/"))
          (is (= [500 (ex-message thrown)] ((juxt :status :text) (wire/read-answer! conn))))
          (is (= [["GET /" thrown]] @errors))
          (is (= 1 @closings))
          (wire/write! conn (wire/get-request "/"))
          (is (= 500 (:status (wire/read-answer! conn))) "the connection goes on"))))))

(deftest a-body-that-fails-in-the-middle-cuts-the-connection-and-is-logged
  (doseq [request [(wire/get-request "/") "GET / HTTP/1.0\r\n\r\n"]
          thrown  [(IOException. "no disk") (ex-info "no luck" {}) (AssertionError. "no way")]]
    (let [closings (atom 0)]
      (wire/with-server [{:keys [port errors]} (fn [_] {:body (failing-stream (* 3 keep-bytes) thrown closings)})
                         {:body-buffer-size keep-bytes}]
        (let [answer (wire/exchange port request)]
          (is (contains? #{200 nil} (:status answer)))
          (is (not (:complete? answer)) "a peer can tell that it is not the whole"))
        (is (wire/eventually #(= [["GET /" thrown]] @errors)))
        (is (= 1 @closings))))))

(deftest a-seq-that-fails-in-the-middle-cuts-the-connection
  (wire/with-server [{:keys [port errors]}
                     (fn [_] {:body (concat (repeat 300 "0123456789") (lazy-seq (throw (ex-info "no more" {}))))})
                     {:body-buffer-size keep-bytes}]
    (is (not (:complete? (wire/exchange port (wire/get-request "/")))))
    (is (wire/eventually #(= ["no more"] (map (comp ex-message second) @errors))))))

(deftest a-failing-streamable-body-is-never-taken-for-a-whole-one
  ;; `with-open` closes the stream before the exception gets out.
  (doseq [n [10 (* 5 keep-bytes)]]
    (wire/with-server [{:keys [port errors]}
                       (fn [_] {:body (reify ring/StreamableResponseBody
                                        (write-body-to-stream [_ _ out]
                                          (with-open [^OutputStream out out]
                                            (.write out (content n))
                                            (throw (ex-info "half way" {})))))})
                       {:body-buffer-size keep-bytes}]
      (let [{:keys [status complete?]} (wire/exchange port (wire/get-request "/"))]
        (is (or (= 500 status) (not complete?)) (str n " bytes")))
      (is (wire/eventually #(= 1 (count @errors)))))))

(deftest a-flush-sends-what-has-been-written
  (let [go-on (promise)]
    (wire/with-server [{:keys [port]}
                       (fn [_] {:body (reify ring/StreamableResponseBody
                                        (write-body-to-stream [_ response out]
                                          (with-open [^OutputStream out out]
                                            (.write out (.getBytes "first"))
                                            (.flush out)
                                            (wire/outcome go-on)
                                            (.write out (.getBytes (str "second" (:status response)))))))
                                :status 201})
                       {}]
      (let [conn (wire/connect port)]
        (wire/write! conn (wire/get-request "/"))
        (let [head  (wire/read-head! conn)
              piece (byte-array 10)]
          (is (= [201 "chunked"] [(:status head) (get-in head [:headers "transfer-encoding"])]))
          (.readFully ^java.io.DataInputStream (:in conn) piece)
          (is (= "5\r\nfirst\r\n" (String. piece)))
          (deliver go-on true)
          (is (= "second201" (String. ^bytes (:bytes (wire/read-body! conn head))))))))))

(deftest a-file-that-shrinks-while-it-is-sent-cuts-the-connection-and-is-logged
  (let [file (files/temporary-file (byte-array (* 40 1024 1024)))]
    (wire/with-server [{:keys [port errors]} (answers (constantly file)) {}]
      (let [conn (wire/connect port :receive-buffer 4096)]
        (wire/write! conn (wire/get-request "/"))
        (let [head (wire/read-head! conn)]
          (is (= (str (* 40 1024 1024)) (get-in head [:headers "content-length"])))
          (with-open [raf (java.io.RandomAccessFile. file "rw")]
            (.setLength raf 1000))
          (is (not (:complete? (wire/read-body! conn head)))))
        (is (wire/eventually #(= 1 (count @errors))))
        (is (str/includes? (ex-message (second (first @errors))) "shorter"))))
    (.delete file)))

(deftest downloads-of-files-by-slow-peers-hold-no-thread
  (let [size (* 16 1024 1024)
        file (files/temporary-file (byte-array size))]
    (wire/with-server [{:keys [port]} (fn [{:keys [uri]}] {:body (if (= "/file" uri) file uri)})
                       {:allow-virtual? false :thread 1}]
      (let [slow (vec (repeatedly 5 #(doto (wire/connect port :receive-buffer 4096)
                                       (wire/write! (wire/get-request "/file")))))
            heads (mapv wire/read-head! slow)]
        (is (= "/other" (:text (wire/exchange port (wire/get-request "/other")))) "the one thread is free")
        (is (= [[true size]]
               (distinct (map (comp (juxt :complete? #(count (:bytes %))) wire/read-body!) slow heads))))))
    (.delete file)))

(deftest a-file-that-grows-is-sent-as-long-as-it-was
  (let [file (files/temporary-file (byte-array (* 8 1024 1024)))]
    (wire/with-server [{:keys [port]} (answers (constantly file)) {}]
      (let [conn (wire/connect port :receive-buffer 4096)]
        (wire/write! conn (wire/get-request "/"))
        (let [head (wire/read-head! conn)]
          (with-open [raf (java.io.RandomAccessFile. file "rw")]
            (.setLength raf (* 16 1024 1024)))
          (is (= [true (* 8 1024 1024)] ((juxt :complete? #(count (:bytes %))) (wire/read-body! conn head))))
          (wire/write! conn "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
          (is (= (str (* 16 1024 1024)) (get-in (wire/read-head! conn) [:headers "content-length"]))))))
    (.delete file)))

(deftest missing-files-and-directories-are-500s
  (wire/with-server [{:keys [port errors]}
                     (fn [{:keys [uri]}] {:body (if (= uri "/dir") (io/file "/tmp") (io/file "/no/such/file"))}) {}]
    (is (= 500 (:status (wire/exchange port (wire/get-request "/dir")))))
    (is (= 500 (:status (wire/exchange port (wire/get-request "/missing")))))
    (is (= 2 (count @errors)))))

(deftest pipelined-requests-after-a-streamed-answer-are-answered-in-order
  (doseq [[kind make] kinds
          :let [long-one (content (* 200 keep-bytes))]]
    (wire/with-server [{:keys [port]}
                       (fn [{:keys [uri]}] (if (= uri "/long") {:body (make long-one)} {:body uri}))
                       {:body-buffer-size keep-bytes}]
      (let [conn (wire/connect port)]
        (wire/write! conn (apply str (map wire/get-request ["/a" "/long" "/b" "/long" "/c"])))
        (is (= ["/a" long-one "/b" long-one "/c"]
               (for [n [2 1 2 1 2]
                     :let [answer (wire/read-answer! conn)]]
                 (cond (= 2 n) (:text answer)
                       (Arrays/equals long-one ^bytes (:bytes answer)) long-one
                       :else :something-else)))
            kind)))))

(deftest asynchronous-handlers-stream-too
  (doseq [[kind make] kinds
          :let [bytes (content (* 100 keep-bytes))]]
    (wire/with-server [{:keys [port]}
                       (fn [_ respond _] (future (respond {:body (make bytes)})) nil)
                       {:ring-async? true :body-buffer-size keep-bytes}]
      (let [conn (wire/connect port)]
        (dotimes [_ 3]
          (wire/write! conn (wire/get-request "/"))
          (let [answer (wire/read-answer! conn)]
            (is (Arrays/equals bytes ^bytes (:bytes answer)) kind)
            (is (:complete? answer))))))))

(deftest asynchronous-bodies-may-be-written-after-the-writer-has-returned
  (doseq [size [10 (* 20 keep-bytes)]]
    (wire/with-server [{:keys [port errors]}
                       (fn [_ respond _]
                         (respond {:status 201
                                   :body (reify ring/StreamableResponseBody
                                           (write-body-to-stream [_ _ out]
                                             (future
                                               (with-open [^OutputStream out out]
                                                 (doseq [part (partition-all 997 (content size))]
                                                   (Thread/yield)
                                                   (.write out (byte-array part)))))))}))
                       {:ring-async? true :body-buffer-size keep-bytes}]
      (let [conn (wire/connect port)]
        (dotimes [_ 20]
          (wire/write! conn (wire/get-request "/"))
          (let [answer (wire/read-answer! conn)]
            (is (= [201 true (if (= size 10) :length :chunked)] ((juxt :status :complete? :framing) answer)))
            (is (Arrays/equals (content size) ^bytes (:bytes answer))))))
      (is (empty? @errors)))))

(deftest an-asynchronous-writer-hears-that-the-peer-has-left
  (let [thrown (promise)]
    (wire/with-server [{:keys [port]}
                       (fn [_ respond _]
                         (respond {:body (reify ring/StreamableResponseBody
                                           (write-body-to-stream [_ _ out]
                                             (future
                                               (try (while true (.write ^OutputStream out (byte-array 10000)))
                                                    (catch Throwable t (deliver thrown t))))))}))
                       {:ring-async? true}]
      (let [conn (wire/connect port :receive-buffer 4096)]
        (wire/write! conn (wire/get-request "/"))
        (wire/read-head! conn)
        (wire/disconnect conn)
        (is (instance? IOException (wire/outcome thrown)))))))

(deftest asynchronous-failures-are-500s-or-cuts
  (doseq [n [0 (* 5 keep-bytes)]]
    (let [closings (atom 0)]
      (wire/with-server [{:keys [port errors]}
                         (fn [_ respond _] (respond {:body (failing-stream n (IOException. "no disk") closings)}))
                         {:ring-async? true :body-buffer-size keep-bytes}]
        (let [answer (wire/exchange port (wire/get-request "/"))]
          (if (zero? n)
            (is (= 500 (:status answer)))
            (is (not (:complete? answer)))))
        (is (wire/eventually #(= 1 (count @errors))))
        (is (= 1 @closings))))))

(deftest a-peer-that-ends-its-side-still-gets-a-long-body
  (doseq [[kind make] kinds
          :let [bytes (content (* 3000 keep-bytes))]]
    (wire/with-server [{:keys [port errors]} (answers #(make bytes)) {:body-buffer-size keep-bytes}]
      (let [conn (wire/connect port)]
        (wire/write! conn (wire/get-request "/"))
        (wire/half-close conn)
        (let [answer (wire/read-answer! conn)]
          (is (:complete? answer) kind)
          (is (Arrays/equals bytes ^bytes (:bytes answer)) kind)
          (is (wire/ended? conn) kind)))
      (is (empty? @errors)))))

(defn- endless-stream
  "Bytes without end; `reads` counts them, `closed` is delivered at close."
  [reads closed]
  (source (fn [_ _ length] (swap! reads + length) length)
          #(deliver closed true)))

(deftest a-peer-that-leaves-releases-the-worker-and-the-stream
  (doseq [[about leave] {"closes"             wire/disconnect
                         "resets"             wire/reset
                         "half-closes first"  (fn [conn] (wire/half-close conn) (wire/disconnect conn))
                         "half-closes, waits" (fn [conn]
                                                (wire/half-close conn)
                                                (.read ^java.io.DataInputStream (:in conn) (byte-array 100000))
                                                (wire/reset conn))}]
    (let [reads (atom 0) closed (promise)]
      (wire/with-server [{:keys [port errors]} (fn [_] {:body (endless-stream reads closed)}) {}]
        (let [conn (wire/connect port :receive-buffer 4096)]
          (wire/write! conn (wire/get-request "/"))
          (is (= 200 (:status (wire/read-head! conn))))
          (leave conn)
          (is (true? (wire/outcome closed)) about)
          (is (empty? @errors) "a peer that leaves is no error"))))))

(deftest a-slow-reader-slows-the-stream-down
  (let [reads (atom 0) closed (promise)]
    (wire/with-server [{:keys [port]} (fn [_] {:body (endless-stream reads closed)}) {}]
      (let [conn (wire/connect port :receive-buffer 4096)]
        (wire/write! conn (wire/get-request "/"))
        (wire/read-head! conn)
        (is (wire/settled 300 #(deref reads)) "it stops reading its source")
        (is (< (long @reads) (* 16 1024 1024)))
        (wire/reset conn)
        (is (true? (wire/outcome closed)))))))

(deftest bodies-of-unknown-classes-are-500s
  (wire/with-server [{:keys [port errors]} (fn [_] {:body 42}) {}]
    (let [{:keys [status text]} (wire/exchange port (wire/get-request "/"))]
      (is (= 500 status))
      (is (str/includes? text "is not understandable")))
    (is (= 1 (count @errors)))))

(defn- loop-cpu-ms
  "Processor time that the threads `server-loop` have used."
  []
  (let [threads (java.lang.management.ManagementFactory/getThreadMXBean)]
    (reduce + (for [^Thread thread (keys (Thread/getAllStackTraces))
                    :when (str/starts-with? (.getName thread) "server-loop")]
                (quot (.getThreadCpuTime threads (.getId thread)) 1000000)))))

(deftest a-peer-that-ended-its-side-costs-nothing-while-it-waits
  (doseq [body ["late" (ByteArrayInputStream. (content 1000000))]]
    (let [go-on (promise)]
      (wire/with-server [{:keys [port]} (fn [_] (wire/outcome go-on) {:body body}) {}]
        (let [conn (wire/connect port)]
          (wire/write! conn (wire/get-request "/"))
          (wire/half-close conn)
          (let [before (loop-cpu-ms)]
            (Thread/sleep 1000) ; the time over which processor time is counted
            (is (< (- (long (loop-cpu-ms)) (long before)) 300)))
          (deliver go-on true)
          (is (:complete? (wire/read-answer! conn))))))))
