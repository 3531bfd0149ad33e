(ns httpkit.rig.clients
  "The clients of the soak: good ones, whose answers are checked, and bad ones.

  A kind is (fn [context random]); what it finds wrong it throws."
  (:require [clojure.string      :as str]
            [httpkit.rig.site    :as site]
            [httpkit.tls-wire    :as tls]
            [httpkit.wire        :as wire]
            [httpkit.ws-wire     :as ws]
            [org.httpkit.client  :as client])
  (:import (java.io ByteArrayOutputStream Closeable IOException)
           (java.net InetSocketAddress Socket)
           (java.util Arrays SplittableRandom)
           (java.util.concurrent.locks ReentrantReadWriteLock)))

(set! *warn-on-reflection* true)

(defn- number ^long [^SplittableRandom random bound] (.nextInt random (int bound)))
(defn- one-in? [random n] (zero? (number random n)))
(defn- choice [random things] (nth things (number random (count things))))

(defn- expect [about expected found]
  (when-not (= expected found)
    (throw (ex-info "wrong" {:about about :expected expected :found (if (string? found) (subs found 0 (min 200 (count found))) found)}))))

(defn- connect
  "Over TLS now and then, if the server speaks it: Java's handshakes take time."
  ^Closeable [{:keys [port ssl-port]} random]
  (if (and ssl-port (one-in? random 6)) (tls/connect ssl-port) (wire/connect port)))

(defn- narrow ^Closeable [{:keys [port]}]
  (wire/wrap (doto (Socket.)
               (.setReceiveBufferSize 4096)
               (.connect (InetSocketAddress. "127.0.0.1" (int port)) (int wire/patience-ms)))))

;;;; Requests and what must come back

(defn- post [path body]
  (let [^bytes body body
        out (ByteArrayOutputStream.)]
    (.writeBytes out (wire/latin1 (str "POST " path " HTTP/1.1\r\nHost: h\r\nContent-Length: " (alength body) "\r\n\r\n")))
    (.writeBytes out body)
    (.toByteArray out)))

(defn- post-chunked [random path body]
  (let [^bytes body body
        out (ByteArrayOutputStream.)]
    (.writeBytes out (wire/latin1 (str "POST " path " HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")))
    (loop [at 0]
      (let [n (min (inc (number random 20000)) (- (alength body) at))]
        (when (pos? n)
          (.writeBytes out (wire/latin1 (str (Integer/toHexString n) "\r\n")))
          (.write out body at n)
          (.writeBytes out (wire/latin1 "\r\n"))
          (recur (+ at n)))))
    (.writeBytes out (wire/latin1 "0\r\n\r\n"))
    (.toByteArray out)))

(defn- sum [n] (str n " " (site/crc site/block n)))

(defn- upload [random path n]
  (if (one-in? random 2) (post path (site/part n)) (post-chunked random path (site/part n))))

(defn- event-text [n]
  (str/join (for [i (range n)] (str "id: " i "\ndata: event " i "\ndata: second line\n\n"))))

(defn- body-sum [^bytes body] (str (alength body) " " (site/crc body (alength body))))

(defn- request
  "[what is sent, status, a function of the body's bytes, what it must return]; `:opens?` in its metadata if a file or a
  socket is opened for it. Servers that have no channels get none of the last three."
  [{:keys [channels?]} random]
  (let [text #(String. ^bytes % "ISO-8859-1")]
    (case (number random (if channels? 13 10))
      0 [(wire/get-request "/") 200 text "ok"]
      1 (let [id (str (number random 1000000000))] [(wire/get-request (str "/json?" id)) 200 text (str "{\"id\":\"" id "\"}")])
      2 (let [n (number random 60000)] [(upload random "/echo" n) 200 body-sum (sum n)])
      3 (let [n (number random 1000000)] [(upload random "/sum" n) 200 text (sum n)])
      4 (let [n (number random 1000000)] [(wire/get-request (str "/download?" n)) 200 body-sum (sum n)])
      5 (with-meta [(wire/get-request "/file") 200 body-sum (sum site/block-size)] {:opens? true})
      6 (let [n (number random 20000)]
          [(wire/get-request (str "/seq?" n)) 200 text (str/join (map #(str % "\n") (range n)))])
      7 [(wire/get-request "/flow?1") 200 #(alength ^bytes %) 1000000]
      8 (let [n (number random 200000)]
          (with-meta [(wire/get-request (str "/client?" n)) 200 text (sum n)] {:opens? true}))
      9 [(wire/get-request "/throw") 500 text "as handlers do"]
      10 (let [n (number random 100)] [(wire/get-request (str "/chunks?" n)) 200 body-sum (sum (* 8192 n))])
      11 (let [n (number random 100)] [(wire/get-request (str "/events?" n)) 200 text (event-text n)])
      12 (let [n (number random 200000)] [(wire/get-request (str "/later?" n)) 200 body-sum (sum n)]))))

(defn- raw-body
  "Of an answer; chunks too."
  ^bytes [answer]
  (let [body (:body answer)]
    (if (string? body) (wire/latin1 body) body)))

(defn- check! [conn [_ status f expected :as asked]]
  (let [answer (wire/answer conn :raw? true)
        first-line (let [^bytes sent (let [s (first asked)] (if (string? s) (wire/latin1 s) s))]
                     (String. sent 0 (min 60 (alength sent)) "ISO-8859-1"))]
    (expect first-line [status expected]
            (if (= :closed answer) :closed [(:status answer) (f (raw-body answer))]))))

(defn- with-openers
  "Calls `f`; if the requests open something, while descriptors can be had."
  [{:keys [^ReentrantReadWriteLock lock]} requests f]
  (if (some (comp :opens? meta) requests)
    (let [read (.readLock lock)]
      (.lock read)
      (try (f) (finally (.unlock read))))
    (f)))

(defn- count! [{:keys [counts]} requests]
  (swap! counts update "throws" (fnil + 0) (count (filter #(= 500 (second %)) requests))))

;;;; Good ones

(defn- keep-alive [context random]
  (with-open [conn (connect context random)]
    (dotimes [_ (inc (number random 10))]
      (let [asked (request context random)]
        (with-openers context [asked]
          (fn []
            (count! context [asked])
            (wire/send! conn (first asked))
            (check! conn asked)))))))

(defn- pipelined [context random]
  (with-open [conn (connect context random)]
    (let [asked (vec (repeatedly (inc (number random 20)) #(request context random)))]
      (with-openers context asked
        (fn []
          (count! context asked)
          (let [sender (future (apply wire/send! conn (map first asked)))]
            (run! #(check! conn %) asked)
            @sender))))))

(defn- slow-writer
  "A request in pieces of any size, with pauses."
  [context random]
  (with-open [conn (connect context random)]
    (let [asked (loop [] (let [asked (request context random)] (if (:opens? (meta asked)) (recur) asked)))
          ^bytes bytes (let [sent (first asked)] (if (string? sent) (wire/latin1 sent) sent))
          pieces (inc (number random 20))
          size   (inc (quot (alength bytes) pieces))]
      (count! context [asked])
      (doseq [at (range 0 (alength bytes) size)]
        (wire/send! conn (Arrays/copyOfRange bytes (int at) (int (min (alength bytes) (+ (long at) size)))))
        (Thread/sleep (number random 20)))
      (check! conn asked))))

(defn- slow-reader [context random]
  (with-open [conn (narrow context)]
    (let [n (+ 100000 (number random 400000))]
      (wire/send! conn (wire/get-request (str "/download?" n)))
      (expect "slow reader" 200 (:status (wire/read-head conn)))
      (let [whole (byte-array n)]
        (loop [at 0]
          (when (< at n)
            (let [part (wire/read-exactly conn (min (- n at) (inc (number random 60000))))]
              (System/arraycopy part 0 whole at (alength part))
              (Thread/sleep (number random 30))
              (recur (+ at (alength part))))))
        (expect "slow reader" (sum n) (body-sum whole))))))

(defn- half-closed
  "Not while descriptors run out: then the server closes such connections first."
  [{:keys [port ^ReentrantReadWriteLock lock]} random]
  (.lock (.readLock lock))
  (try
    (with-open [conn (wire/connect port)]
      (let [n (number random 300000)]
        (wire/send! conn (wire/get-request (str "/download?" n)))
        (wire/half-close! conn)
        (check! conn [(wire/get-request "/download") 200 body-sum (sum n)])
        (expect "half-closed" true (wire/closed? conn))))
    (finally (.unlock (.readLock lock)))))

(defn- web-socket [context random]
  (let [conn (ws/connect (:port context) wire/patience-ms)]
    (try
      (dotimes [_ (inc (number random 10))]
        (let [n    (inc (number random 30000))
              kind (choice random [:text :binary])]
          (ws/send! conn [[kind {:of "m" :times n} (if (one-in? random 3) {:fragments (inc (number random 5000))} {})]] nil)
          (expect "echo" (ws/expected [kind {:of "m" :times n}]) (ws/receive! conn))))
      (when (one-in? random 2)
        (ws/send! conn [[:close 1000]] nil)
        (expect "close" :close (first (ws/receive! conn))))
      (finally (ws/disconnect conn)))))

(defn- through-client
  "Calls of the library's client, from this JVM."
  [{:keys [port ^ReentrantReadWriteLock lock]} random]
  (let [url #(str "http://127.0.0.1:" port %)
        n   (number random 500000)]
    (.lock (.readLock lock))
    (try
      (let [{:keys [status body error]}
            (if (one-in? random 2)
              @(client/get (url (str "/download?" n)) {:as :byte-array :timeout 30000 :keepalive site/keep-alive})
              @(client/post (url "/sum") {:as :text :body (site/part n) :timeout 30000 :keepalive site/keep-alive}))]
        (expect "client" [nil 200 (sum n)] [error status (if (string? body) body (some-> body body-sum))]))
      (finally (.unlock (.readLock lock))))))

;;;; Bad ones

(defn- end! [random conn]
  (case (number random 3)
    0 (.close ^Closeable conn)
    1 (wire/reset!! conn)
    2 (do (wire/half-close! conn) (wire/read-rest conn))))

(def ^:private handshake
  (wire/get-request "/ws" ["Upgrade" "websocket"] ["Connection" "Upgrade"] ["Sec-WebSocket-Version" "13"]
                    ["Sec-WebSocket-Key" "dGhlIHNhbXBsZSBub25jZQ=="]))

(defn- cut
  "Leaves at any byte of a request, before its answer or within it."
  [context random]
  (with-open [conn (connect context random)]
    (let [sent (choice random [(first (request context random)) handshake
                               (wire/get-request "/flow?10") (wire/get-request (if (:channels? context) "/chunks?400" "/cached"))
                               (wire/get-request "/block?20")])
          ^bytes bytes (if (string? sent) (wire/latin1 sent) sent)]
      (count! context [[nil 500]]) ; it may be one that throws
      (wire/send! conn (Arrays/copyOf bytes (int (if (one-in? random 2) (alength bytes) (number random (inc (alength bytes)))))))
      (when (one-in? random 2)
        (.setSoTimeout ^Socket (:socket conn) 20)
        (try (dotimes [_ (number random 5000)] (wire/read-byte conn))
             (catch java.net.SocketTimeoutException _ nil)))
      (end! random conn))))

(defn- garbage [context random]
  (with-open [conn (wire/connect (or (when (one-in? random 3) (:ssl-port context)) (:port context)))]
    (let [bytes (byte-array (number random 2000))]
      (dotimes [i (alength bytes)] (aset bytes i (unchecked-byte (number random 256))))
      (when (one-in? random 2) (wire/send! conn (choice random ["GET / HTTP/1.1\r\n" "POST /sum HTTP/1.1\r\nHost: h\r\nContent-Length: 999999\r\n\r\n" handshake])))
      (wire/send! conn bytes)
      (end! random conn))))

(defn- broken-tls
  "A TLS session in which bytes are damaged or missing."
  [{:keys [ssl-port]} random]
  (let [socket (tls/socket ssl-port nil)
        conn   (wire/wrap socket)]
    (try
      (wire/send! conn (wire/get-request "/download?300000"))
      (dotimes [_ (number random 3000)] (wire/read-byte conn))
      (finally (.close socket)))))

(defn- failing-handler [context random]
  (with-open [conn (connect context random)]
    (let [path (choice random (cond-> ["/throw" "/aborted" "/block?50"] (:channels? context) (conj "/closed")))]
      (when (= "/throw" path) (count! context [[nil 500]]))
      (wire/send! conn (wire/get-request path))
      (let [answer (try (wire/answer conn) (catch clojure.lang.ExceptionInfo _ :cut))]
        (case path
          "/throw"    (expect path 500 (:status answer))
          "/block?50" (expect path "ok" (:body answer))
          nil)))))

(def ^:private kinds
  "Each as often as it stands here; `true` for those who may be hit by their own resets."
  [["keep-alive" keep-alive false] ["keep-alive" keep-alive false] ["keep-alive" keep-alive false]
   ["pipelined" pipelined false] ["pipelined" pipelined false]
   ["slow writer" slow-writer false] ["slow reader" slow-reader false] ["half-closed" half-closed false]
   ["web socket" web-socket false] ["web socket" web-socket false] ["client" through-client false]
   ["cut" cut true] ["cut" cut true] ["cut" cut true] ["garbage" garbage true] ["broken TLS" broken-tls true]
   ["failing handler" failing-handler false]])

(def ^:private kinds-without-tls (filterv #(not= "broken TLS" (first %)) kinds))

(defn- complain! [{:keys [wrong]} about throwable]
  (swap! wrong #(if (< (count %) 10) (conj % [about (str throwable) (ex-data throwable)]) %)))

(defn act!
  "One connection of a random kind."
  [{:keys [site counts] :as context} random]
  (let [[mode ports] (choice random (into [["default" site] ["default" site]] (sort-by key (:modes site))))
        context (assoc context :port (:port ports) :ssl-port (:ssl-port ports) :channels? (not= "an IHandler" mode))
        [about kind rude?] (choice random (if (:ssl-port ports) kinds kinds-without-tls))]
    (swap! counts #(-> % (update about (fnil inc 0)) (update mode (fnil inc 0))))
    (try
      (kind context random)
      (catch IOException e (when-not rude? (complain! context [mode about] e)))
      (catch clojure.lang.ExceptionInfo e (complain! context [mode about] e))
      (catch RuntimeException e (complain! context [mode about] e)))))
