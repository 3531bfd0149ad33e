(ns httpkit.client-stream-test
  "Bodies that are read while they arrive."
  (:require [clojure.test :refer [deftest is testing]]
            [clojure.edn :as edn]
            [clojure.string :as str]
            [httpkit.client-peer :as peer]
            [httpkit.subprocess :as subprocess]
            [org.httpkit.client :as client])
  (:import [java.io ByteArrayOutputStream InputStream IOException]
           [java.util.concurrent AbstractExecutorService]
           [java.util.zip GZIPOutputStream]
           [org.httpkit BytesInputStream HttpMethod ProtocolException]
           [org.httpkit.client HttpClient HttpClient$AddressFinder HttpClient$SSLEngineURIConfigurer IResponseHandler
                               RequestConfig RespListener]
           [org.httpkit.logger ContextLogger EventLogger EventNames]))

(def ^:private head "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ")

(defn- stream-of
  "The body of a streamed response, with the peer's connection served by `f` after the request."
  [p & [opts]]
  (let [{:keys [body error]} @(client/get (:url p) (assoc opts :as :stream))]
    (is (nil? error))
    body))

(defn- serving [f]
  (fn [conn] (peer/read-request! conn) (f conn)))

(deftest streams-are-delivered-at-the-first-byte
  (let [rest-of-it (promise)]
    (peer/with-peer [p (serving (fn [conn]
                                  (peer/send! conn head "6\r\n\r\nabc")
                                  @rest-of-it
                                  (peer/send! conn "def")))]
      (with-open [in ^InputStream (stream-of p)]
        (is (= (int \a) (.read in)))
        (is (= 2 (.available in)))
        (is (= "bc" (String. (.readNBytes in 2))))
        (is (zero? (.available in)))
        (is (zero? (.read in (byte-array 0))))
        (is (not (.markSupported in)))
        (deliver rest-of-it true)
        (is (= "def" (slurp in)))
        (is (= -1 (.read in)))
        (is (thrown? IndexOutOfBoundsException (.read in (byte-array 1) 1 1)))))))

(deftest empty-bodies-are-empty-streams
  (peer/with-peer [p (serving #(peer/send! % head "0\r\n\r\n"))]
    (is (= -1 (.read ^InputStream (stream-of p))))))

(deftest a-filter-makes-streams-buffered
  (peer/with-peer [p (serving #(peer/send! % head "3\r\n\r\nabc"))]
    (let [body (stream-of p {:filter (client/max-body-filter 10)})]
      (is (instance? BytesInputStream body))
      (is (= "abc" (slurp body))))))

(deftest failures-come-after-the-bytes
  (peer/with-peer [p (serving (fn [conn]
                                (peer/send! conn head "9\r\n\r\nabc")
                                (peer/close! conn)))]
    (let [in ^InputStream (stream-of p)]
      (is (= "abc" (String. (.readNBytes in 3))))
      (let [e (is (thrown-with-msg? IOException #"Response stream failed" (.read in)))]
        (is (= ProtocolException (class (ex-cause e)))))))
  (testing "IOExceptions as they are"
    (let [c (client/make-client {})]
      (peer/with-peer [p (serving (fn [conn]
                                    (peer/send! conn head "9\r\n\r\nabc")
                                    (peer/await-end! conn)))]
        (let [in ^InputStream (stream-of p {:client c})]
          (is (= "abc" (String. (.readNBytes in 3))))
          (client/client-stop! c)
          (is (thrown-with-msg? IOException #"HTTP client is stopped" (.read in))))))))

;; As a ForkJoinPool that can start no thread for what it has queued: a worker of it may run that at once, before the
;; core has been told of the exception, which is logged first.
(deftest a-body-that-was-delivered-ends-with-its-call-though-the-pool-threw
  (let [queued  (atom nil)
        pool    (proxy [AbstractExecutorService] []
                  (execute [^Runnable task]
                    (if (compare-and-set! queued nil task)
                      (throw (OutOfMemoryError. "unable to create native thread"))
                      (.run task))))
        body    (promise)
        logger  (reify ContextLogger
                  (log [_ _ _] (doto (Thread. ^Runnable @queued) (.start) (.join))))
        c       (HttpClient. -1 HttpClient$AddressFinder/DEFAULT HttpClient$SSLEngineURIConfigurer/NOP logger
                             EventLogger/NOP EventNames/DEFAULT)
        handler (reify IResponseHandler
                  (onSuccess [_ _ _ in] (deliver body in))
                  (onThrowable [_ e] (deliver body e)))]
    (peer/with-peer [p (serving (fn [conn]
                                  (peer/send! conn head "9\r\n\r\nabc")
                                  (peer/await-end! conn)))]
      (.exec c (:url p) (RequestConfig. HttpMethod/GET nil nil 20000 20000 -1 nil false false) nil
             (RespListener. handler nil pool RespListener/STREAM))
      (let [in ^InputStream (deref body 20000 nil)]
        (is (= "abc" (String. (.readNBytes in 3))))
        (is (= "Response stream failed"
               (deref (future (try (.read in) (catch IOException e (ex-message e)))) 20000 :waits)))))
    (.stop c)))

(deftest a-slow-reader-slows-the-peer-down-and-loses-nothing
  (let [n    (* 20 1024 1024)
        sent (atom 0)]
    (peer/with-peer [p (serving (fn [conn]
                                  (peer/send! conn head n "\r\n\r\n")
                                  (dotimes [_ (/ n 65536)]
                                    (peer/send-bytes! conn (byte-array 65536))
                                    (swap! sent + 65536))))]
      (with-open [in ^InputStream (stream-of p {:idle-timeout 400})]
        (is (= 0 (.read in)))
        ;; Longer than the idle timeout: waiting for the reader is no silence of the peer's.
        (let [stalled (peer/settled 250 #(deref sent))]
          (is (< stalled n) "the peer has to wait")
          (Thread/sleep 600)
          (is (= stalled @sent)))
        (is (= (dec n) (loop [total 0]
                         (let [k (.read in (byte-array 65536))]
                           (if (neg? k) total (recur (+ total k)))))))))))

(deftest closing-early-drops-the-connection
  (let [ended (promise)]
    (peer/with-peer [p (serving (fn [conn]
                                  (peer/send! conn head "1000\r\n\r\nabc")
                                  (peer/await-end! conn)
                                  (deliver ended true)))]
      (let [in ^InputStream (stream-of p)]
        (.close in)
        (is (= -1 (.read in)))
        (is (true? (deref ended 5000 false)))))))

(deftest forgotten-streams-drop-the-connection
  (doseq [[about forget] {"alone"                     (fn [p] (stream-of p) nil)
                          "though the result is kept" (fn [p]
                                                        (doto (client/get (:url p) {:as :stream} :status)
                                                          (-> deref (= 200) is)))}]
    (testing about
      (let [ended (promise)]
        (peer/with-peer [p (serving (fn [conn]
                                      (peer/send! conn head "1000\r\n\r\nabc")
                                      (peer/await-end! conn)
                                      (deliver ended true)))]
          (let [kept (forget p)]
            (is (peer/eventually #(do (System/gc) (realized? ended))))
            (is (or (nil? kept) (realized? kept)))))))))

(deftest unread-but-complete-responses-leave-their-connection-usable
  (let [c (client/make-client {})]
    (peer/with-peer [p (peer/answering (constantly "complete"))]
      (let [unread (stream-of p {:client c})]
        (is (peer/eventually #(= 1 (:idle (client/client-stats c)))))
        (is (= "complete" (slurp (stream-of p {:client c}))))
        (is (= 1 (count @(:sockets p))))
        (is (= "complete" (slurp unread)))))
    (client/client-stop! c)))

(defn- gzipped ^bytes [^String s]
  (let [out (ByteArrayOutputStream.)]
    (with-open [gz (GZIPOutputStream. out)] (.write gz (.getBytes s)))
    (.toByteArray out)))

(deftest gzip-is-decoded-on-the-way
  (let [bytes (gzipped (apply str (range 1000)))
        go    (promise)]
    (peer/with-peer [p (serving (fn [conn]
                                  (peer/send! conn "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: "
                                              (alength bytes) "\r\n\r\n")
                                  (peer/send-bytes! conn (java.util.Arrays/copyOfRange bytes 0 12))
                                  @go
                                  (peer/send-bytes! conn (java.util.Arrays/copyOfRange bytes 12 (alength bytes)))))]
      (let [in (stream-of p)]
        (deliver go true)
        (is (= (apply str (range 1000)) (slurp in)))))))

(defn- with-wrong-sum ^bytes [^bytes gzip]
  (let [at (- (alength gzip) 5)]
    (aset gzip at (unchecked-byte (bit-not (aget gzip at))))
    gzip))

(deftest what-comes-before-damage-is-read-first
  (let [damaged (with-wrong-sum (gzipped "hello"))]
    (peer/with-peer [p (serving (fn [conn]
                                  (peer/send! conn "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
                                              (Integer/toHexString (alength damaged)) "\r\n")
                                  ;; The response goes on: nothing more is waited for.
                                  (peer/send-bytes! conn damaged)
                                  (peer/await-end! conn)))]
      (with-open [in ^InputStream (stream-of p)]
        (is (= "hello" (String. (.readNBytes in 5))))
        (is (thrown-with-msg? java.util.zip.ZipException #"Corrupt GZIP trailer" (.read in)))))))

(deftest redirects-close-their-streams
  (let [c (client/make-client {})]
    (peer/with-peer [p (peer/answering
                        (fn [{:keys [line]}]
                          (if (= line "GET /next HTTP/1.1")
                            "there"
                            "HTTP/1.1 302 X\r\nLocation: /next\r\nContent-Length: 5\r\n\r\nmoved")))]
      (is (= "there" (slurp (stream-of p {:client c}))))
      (is (peer/eventually #(zero? (:active (client/client-stats c))))))
    (client/client-stop! c)))

(deftest uploads-follow-the-peers-pace
  (let [n    (* 64 1024 1024)
        read (atom 0)
        go   (promise)
        body (proxy [InputStream] []
               (read
                 ([] (if (>= @read n) -1 0))
                 ([^bytes b off len]
                  (if (>= @read n) -1 (let [k (min len (- n @read))] (swap! read + k) (int k))))))]
    (peer/with-peer [p (fn [conn]
                         (peer/read-head! conn)
                         @go
                         (dotimes [_ (/ n 65536)] (.readNBytes ^InputStream (:in conn) 65536))
                         (peer/respond! conn "got it"))]
      (let [result (client/post (:url p) {:body body :headers {"Content-Length" (str n)}})]
        (is (peer/eventually #(pos? @read)))
        (is (peer/settled 200 #(deref read)))
        (is (< @read (quot n 2)) "reads no further than the connection takes")
        (deliver go true)
        (is (= "got it" (:body (deref result 20000 nil))))))))

(deftest an-early-answer-ends-the-upload
  (let [closed (promise)
        body   (proxy [InputStream] []
                 (read ([] 0) ([_ _ len] len))
                 (close [] (deliver closed true)))]
    (peer/with-peer [p (fn [conn]
                         (peer/read-head! conn)
                         (peer/send! conn "HTTP/1.1 413 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                         (peer/await-end! conn))]
      (is (= 413 (:status (deref (client/post (:url p) {:body body :chunked? true}) 10000 nil))))
      (is (true? (deref closed 5000 false))))))

(deftest a-stream-that-a-thread-reads-is-not-abandoned-though-nothing-else-holds-it
  (let [second-byte (promise)]
    (peer/with-peer [p (fn [conn]
                         (loop []
                           (when-let [{:keys [line]} (peer/read-request! conn)]
                             (cond
                               (str/includes? line "/warm") (do (peer/send! conn head "200000\r\n\r\n")
                                                                (peer/send-bytes! conn (byte-array 200000)))
                               (str/includes? line "/slow") (do (peer/send! conn head "2\r\n\r\na")
                                                                (deref second-byte 60000 nil)
                                                                (peer/send! conn "b"))
                               :else                        (do (deliver second-byte true)
                                                                (peer/send! conn head "0\r\n\r\n")))
                             (recur))))]
      (let [script (binding [*print-meta* true] ; a call by reflection would hold the stream
                     (pr-str (list 'do
                                   '(require '[org.httpkit.client :as client])
                                   (list 'def 'url (str (:url p) "/"))
                                   '(defn body ^java.io.InputStream [path] (:body @(client/get (str url path) {:as :stream})))
                                   ;; Compiled code drops what it does not need any more, and this method is compiled then.
                                   '(dotimes [_ 3]
                                      (with-open [in (body "warm")]
                                        (while (not (neg? (.read in))))))
                                   '(defn two-bytes []
                                      (let [in (body "slow"), a (.read in)]
                                        [a (.read in)]))
                                   '(let [both (future (two-bytes))]
                                      (dotimes [_ 20] (Thread/sleep 50) (System/gc))
                                      @(client/get (str url "go"))
                                      (prn (deref both 60000 :waiting)))
                                   '(System/exit 0))))
            {:keys [out]} (subprocess/run script :jvm-args ["-XX:TieredStopAtLevel=1" "-Xmx128m"])]
        (is (= [97 98] (edn/read-string (last (str/split-lines out)))) out)))))
