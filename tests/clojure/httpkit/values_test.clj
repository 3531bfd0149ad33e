(ns httpkit.values-test
  "The value classes of org.httpkit: buffers, headers, statuses, methods,
  exceptions, loggers, frames. `HttpUtils` has a namespace of its own."
  (:require [clojure.string :as str]
            [clojure.test :refer [deftest is testing are]])
  (:import [java.io ByteArrayOutputStream PrintStream]
           [java.lang.reflect Constructor Method Modifier]
           [java.nio ByteBuffer]
           [java.nio.charset Charset StandardCharsets]
           [org.httpkit BytesInputStream ContentTooLargeException DynamicBytes
            HTTPException HeaderMap HeadersTooLargeException HttpMethod HttpStatus
            HttpUtils HttpVersion LineTooLargeException PrefixThreadFactory
            ProtocolException RequestTooLargeException]
           [org.httpkit.client AbortException TimeoutException]
           [org.httpkit.logger ContextLogger EventLogger EventNames]
           [org.httpkit.server Frame Frame$BinaryFrame Frame$CloseFrame Frame$PingFrame
            Frame$PongFrame Frame$TextFrame ProxyProtocolOption WSDecoder
            WebSocketException]
           [org.httpkit.timer CancelableFutureTask TimerService]))

(def ^:private value-classes
  [BytesInputStream ContentTooLargeException DynamicBytes HTTPException HeaderMap
   HeadersTooLargeException HttpMethod HttpStatus HttpUtils HttpVersion
   LineTooLargeException PrefixThreadFactory ProtocolException
   RequestTooLargeException AbortException TimeoutException ContextLogger
   EventLogger EventNames Frame Frame$BinaryFrame Frame$CloseFrame Frame$PingFrame
   Frame$PongFrame Frame$TextFrame ProxyProtocolOption WSDecoder WebSocketException
   CancelableFutureTask TimerService])

(defn- bytes-of ^bytes [^String s] (.getBytes s "ISO-8859-1"))
(defn- text-of  [^bytes b] (String. b "ISO-8859-1"))

;;;; Surface

(defn- public-arities [^Class c]
  (concat
   (for [^Method m (.getDeclaredMethods c)
         :when (and (Modifier/isPublic (.getModifiers m))
                    (not (.isBridge m)) (not (.isSynthetic m)))]
     [(.getName m) (.getParameterCount m)])
   (for [^Constructor k (.getDeclaredConstructors c)
         :when (Modifier/isPublic (.getModifiers k))]
     ["<init>" (.getParameterCount k)])))

(def ^:private ambiguous-in-http-kit-too
  "Their callers hint the arguments."
  #{[DynamicBytes ["append" 1]] [DynamicBytes ["append" 2]] [HttpUtils ["readAll" 1]]})

(deftest untyped-calls-are-unambiguous
  (doseq [c     value-classes
          [m n] (frequencies (public-arities c))
          :when (not (ambiguous-in-http-kit-too [c m]))]
    (is (= 1 n) (str c " " m))))

(deftest only-enums-are-final
  (doseq [^Class c value-classes]
    (is (= (.isEnum c) (Modifier/isFinal (.getModifiers c))) (str c))))

;;;; DynamicBytes

(defn- capacity [^DynamicBytes d] (alength (.get d)))

(defn- appended
  "Capacity after one append of `n` bytes to an empty buffer of `cap`."
  [cap n]
  (capacity (.append (DynamicBytes. cap) (byte-array n) (int n))))

(deftest dynamic-bytes-grow-by-half-or-by-a-quarter-more-than-needed
  (are [cap need grown] (= grown (appended cap need))
    100 100 100
    100 101 150
    100 150 150
    100 151 188
    100 201 251
    0   1   1
    0   4   5
    1   2   2
    8   9   12))

(deftest dynamic-bytes-capacity-never-falls-short
  (doseq [cap (range 0 40), need (range 0 200)]
    (is (<= need (appended cap need)) [cap need])))

(deftest dynamic-bytes-keep-what-was-appended-in-order
  (let [d (DynamicBytes. 1)]
    (is (identical? d (.append d (byte 1))))
    (.append d (byte 2) (byte 3))
    (.append d (byte-array [4 5 99]) (int 2))
    (.append d "A")
    (.append d "é" ^Charset StandardCharsets/UTF_8)
    (let [b (ByteBuffer/wrap (byte-array [98 6 7 97]) 1 2)]
      (.append d b)
      (is (not (.hasRemaining b)) "the buffer is consumed"))
    (is (= [1 2 3 4 5 65 -61 -87 6 7] (vec (.bytes d))))
    (is (= 10 (.length d)))
    (is (= (vec (.bytes d)) (take 10 (.get d))))))

(deftest dynamic-bytes-are-live-in-get-and-copied-in-bytes
  (let [d (.append (DynamicBytes. 4) "ab")]
    (aset (.bytes d) 0 (byte 0))
    (is (= "ab" (text-of (.bytes d))))
    (aset (.get d) 0 (byte 120))
    (is (= "xb" (text-of (.bytes d))))))

(deftest dynamic-bytes-print-length-and-capacity
  (let [d (.append (DynamicBytes. 8) "123456789")]
    (is (= "DynamicBytes[len=9, cap=12]" (str d)))))

(deftest dynamic-bytes-append-text-as-ascii
  (are [s text] (= text (text-of (.bytes (.append (DynamicBytes. 4) ^String s))))
    ""      ""
    "plain" "plain"
    "aéb"   "a?b"
    "☃"     "?"))

(deftest dynamic-bytes-refuse-bad-lengths
  (is (thrown? IndexOutOfBoundsException (.append (DynamicBytes. 4) (byte-array 2) (int 3))))
  (is (thrown? IndexOutOfBoundsException (.append (DynamicBytes. 4) (byte-array 2) (int -1))))
  (is (thrown? NegativeArraySizeException (DynamicBytes. -1))))

(deftest dynamic-bytes-beyond-the-longest-array-are-refused-before-allocating
  ;; The growth rule itself: two GiB of heap are not to be had in a test.
  (let [grown (doto (.getDeclaredMethod DynamicBytes "grown"
                      (into-array Class [Integer/TYPE Long/TYPE]))
                (.setAccessible true))
        call  (fn [cap need]
                (try (.invoke grown nil (object-array [(int cap) (long need)]))
                     (catch java.lang.reflect.InvocationTargetException e
                       (class (.getCause e)))))
        most  (- (bit-shift-left 1 31) 9)]
    (is (= most (call 2000000000 2000000001)))
    (is (= most (call 0 most)))
    (is (= 2100000000 (call 1400000000 1400000001)))
    (is (= ContentTooLargeException (call 0 (inc most))))
    (is (= ContentTooLargeException (call most (+ most most))))))

;;;; BytesInputStream

(defn- stream ^BytesInputStream [s] (BytesInputStream. (bytes-of s) (count s)))

(defn- window
  "The same content inside of a larger array."
  ^BytesInputStream [s]
  (BytesInputStream. (bytes-of (str "<<<" s ">>>>>")) 3 (count s)))

(defn- read-into [^BytesInputStream in n]
  (let [target (byte-array n)
        got    (.read in target 0 n)]
    [got (text-of (byte-array (take (max 0 got) target)))]))

(deftest bytes-input-stream-reads-its-content-only
  (doseq [make [stream window]]
    (is (= (concat (map int "hello") [-1 -1])
           (let [in (make "hello")] (repeatedly 7 #(.read ^BytesInputStream in)))))
    (let [in (make "hello")]
      (is (= [[3 "hel"] [2 "lo"] [-1 ""]] (repeatedly 3 #(read-into in 3)))))
    (is (= "hello" (slurp (make "hello"))))
    (is (= "hello" (text-of (.readAllBytes ^BytesInputStream (make "hello")))))
    (let [in  ^BytesInputStream (make "hello")
          out (ByteArrayOutputStream.)]
      (.read in)
      (is (= 4 (.transferTo in out)))
      (is (= "ello" (str out)))
      (is (= -1 (.read in))))))

(deftest bytes-input-stream-reads-bytes-as-unsigned
  (is (= 255 (.read (BytesInputStream. (byte-array [-1]) 1)))))

(deftest bytes-input-stream-edge-rules-of-read
  (doseq [make [stream window]
          :let [in ^BytesInputStream (make "ab")]]
    (is (thrown? NullPointerException (.read in nil 0 0)) "null, even for no bytes")
    (are [off len] (thrown? IndexOutOfBoundsException (.read in (byte-array 4) off len))
      -1 1, 0 -1, 0 5, 4 1, 5 0, 1 Integer/MAX_VALUE)
    (is (= 0 (.read in (byte-array 4) 4 0)))
    (is (= 2 (.read in (byte-array 4) 2 2)))
    (is (= 0 (.read in (byte-array 4) 0 0)) "no bytes asked for, even at the end")
    (is (= -1 (.read in (byte-array 4) 0 1)))))

(deftest bytes-input-stream-can-be-read-again
  (doseq [make [stream window]
          :let [in ^BytesInputStream (make "hello")]]
    (is (.markSupported in))
    (.skip in 2)
    (.reset in)
    (is (= "hello" (slurp in)) "the first mark is the start")
    (.reset in)
    (.skip in 3)
    (.mark in 0)
    (is (= "lo" (slurp in)))
    (.close in)
    (.reset in)
    (is (= "lo" (slurp in)) "after close too")))

(deftest bytes-input-stream-counts
  (doseq [make [stream window]
          :let [in ^BytesInputStream (make "hello")]]
    (is (= [5 5] [(.available in) (.getCount in)]))
    (are [n skipped left] (= [skipped left] [(.skip in n) (.available in)])
      2 2 3, -1 0 3, 0 0 3, Long/MAX_VALUE 3 0, 1 0 0)
    (is (= 5 (.getCount in)))
    (is (= "hello" (text-of (.bytes in))) "all, whatever the position")
    (is (= "BytesInputStream[len=5]" (str in)))))

(deftest bytes-input-stream-copies-only-in-bytes
  (let [array (bytes-of "xhellox")
        in    (BytesInputStream. array 1 5)
        copy  (.bytes in)]
    (aset array 1 (byte 72))
    (is (= "Hello" (slurp in)))
    (is (= "hello" (text-of copy)))
    (is (= 5 (alength copy)))))

(deftest bytes-input-stream-refuses-a-window-outside-of-the-array
  (are [n] (thrown? IndexOutOfBoundsException (BytesInputStream. (byte-array 3) n))
    -1 4 Integer/MIN_VALUE Integer/MAX_VALUE)
  (are [off n] (thrown? IndexOutOfBoundsException (BytesInputStream. (byte-array 3) off n))
    -1 1, 0 4, 3 1, 4 0, 1 Integer/MAX_VALUE)
  (is (thrown? NullPointerException (BytesInputStream. nil 0)))
  (is (= -1 (.read (BytesInputStream. (byte-array 3) 3 0)))))

;;;; HeaderMap

(defn- headers ^HeaderMap [& kvs]
  (let [h (HeaderMap.)]
    (doseq [[k v] (partition 2 kvs)] (.put h k v))
    h))

(defn- lines [^HeaderMap h]
  (let [out (DynamicBytes. 16)]
    (.encodeHeaders h out)
    (String. (.bytes out) "UTF-8")))

(deftest header-map-finds-the-first-of-a-name-by-case
  (let [h (headers "a" 1 "b" 2 "a" 3 "n" nil)]
    (are [k v there?] (= [v there?] [(.get h k) (.containsKey h k)])
      "a" 1 true, "b" 2 true, "n" nil true, "A" nil false, "c" nil false)))

(deftest header-map-keeps-order-and-repetitions
  (let [ks (for [i (range 100)] (str "k" (mod i 7)))
        h  (apply headers (interleave ks (range)))]
    (is (= (str (str/join (map #(str %1 ": " %2 "\r\n") ks (range))) "\r\n")
           (lines h)))))

(deftest header-map-changes
  (let [h (headers "a" 1 "b" 2 "a" 3)]
    (is (not (.isEmpty h)))
    (.putOrReplace h "a" 9)
    (.putOrReplace h "c" 4)
    (is (= "a: 9\r\nb: 2\r\na: 3\r\nc: 4\r\n\r\n" (lines h)))
    (.remove h "A")
    (is (= 9 (.get h "a")))
    (.remove h "a")
    (is (= "b: 2\r\nc: 4\r\n\r\n" (lines h)))
    (.clear h)
    (is (.isEmpty h))
    (is (= "\r\n" (lines h)))
    (.put h "d" 5)
    (is (= "d: 5\r\n\r\n" (lines h)))))

(deftest header-map-encodes-values
  (are [v text] (= (str text "\r\n") (lines (headers "K" v)))
    "v"            "K: v\r\n"
    5              "K: 5\r\n"
    :v             "K: :v\r\n"
    ""             "K: \r\n"
    "a\tb"         "K: a\tb\r\n"
    "é☃"           "K: é☃\r\n"
    nil            ""
    []             ""
    ["a" "b"]      "K: a\r\nK: b\r\n"
    (map inc [1 2]) "K: 2\r\nK: 3\r\n"
    {:a 1}         "K: [:a 1]\r\n"))

(deftest header-map-refuses-what-would-split-or-break-a-message
  (doseq [v ["a\r\nX: 1" "a\n" "\r" "\u0000" "\u0001" "\u001f" "\u007f" ["ok" "a\nb"]]]
    (is (thrown-with-msg? IllegalArgumentException #"Invalid character in HTTP header value"
          (lines (headers "K" v)))
        (pr-str v)))
  (doseq [k ["" " " "a b" "a:" "a\r\nb" "é" "a\u0000" "a/b" "(a)" "a,b" "\"a\"" "\u212a"]]
    (is (thrown-with-msg? IllegalArgumentException #"Invalid HTTP header name"
          (lines (headers k "v")))
        (pr-str k)))
  (is (thrown? NullPointerException (lines (headers "K" ["a" nil]))))
  (is (= "!#$%&'*+-.^_`|~09AZaz: v\r\n\r\n" (lines (headers "!#$%&'*+-.^_`|~09AZaz" "v")))))

(deftest header-map-camel-cases-a-map
  (let [h (HeaderMap/camelCase (array-map "content-TYPE" "t" "ETag" nil "x" 1 "X" 2))]
    (is (= "Content-Type: t\r\nX: 1\r\nX: 2\r\n\r\n" (lines h)))
    (is (.containsKey h "Etag")))
  (is (.isEmpty (HeaderMap/camelCase nil)))
  (is (= "A: 1\r\n\r\n" (lines (HeaderMap/camelCase (java.util.HashMap. {"a" 1})))))
  (is (thrown? ClassCastException (HeaderMap/camelCase {:a 1}))))

;;;; HttpStatus, HttpMethod, HttpVersion

(def ^:private known-codes
  (concat (range 100 103) (range 200 208) (range 300 306) [307]
          (range 400 418) (range 422 427) (range 500 508) [510]))

(deftest http-status-known-codes-are-one-object
  (doseq [code known-codes
          :let [status (HttpStatus/valueOf code)]]
    (is (identical? status (HttpStatus/valueOf code)) (str code))
    (is (= code (.getCode status)))
    (is (not (re-find #"\(" (.getReasonPhrase status))) (str status)))
  (is (identical? HttpStatus/OK (HttpStatus/valueOf 200)))
  (is (not= HttpStatus/OK (HttpStatus. 200 "OK")) "identity, not equality")
  (is (= (set known-codes)
         (set (for [^java.lang.reflect.Field f (.getFields HttpStatus)]
                (.getCode ^HttpStatus (.get f nil)))))))

(deftest http-status-phrases
  (are [code phrase] (= phrase (.getReasonPhrase (HttpStatus/valueOf code)))
    200 "OK"
    404 "Not Found"
    413 "Request Entity Too Large"
    414 "Request-URI Too Long"
    425 "Unordered Collection"
    103 "Informational (103)"
    250 "Successful (250)"
    308 "Redirection (308)"
    429 "Client Error (429)"
    599 "Server Error (599)"
    600 "Unknown Status (600)"
    999 "Unknown Status (999)"))

(deftest http-status-unknown-codes-are-new-objects
  (is (not (identical? (HttpStatus/valueOf 429) (HttpStatus/valueOf 429)))))

(deftest http-status-refuses-what-cannot-stand-in-a-status-line
  (are [code] (thrown? IllegalArgumentException (HttpStatus/valueOf code))
    99 0 -1 1000 Integer/MIN_VALUE Integer/MAX_VALUE)
  (is (= 999 (.getCode (HttpStatus. 999 "x"))))
  (is (thrown? IllegalArgumentException (HttpStatus. 99 "x")))
  (is (thrown? IllegalArgumentException (HttpStatus. 200 "OK\r\nX: 1"))))

(deftest http-method-keywords
  (is (= [:get :head :post :put :delete :trace :options :connect :patch :propfind :proppatch
          :lock :unlock :report :acl :move :copy :mkcol :list]
         (map #(.KEY ^HttpMethod %) (HttpMethod/values))))
  (doseq [^HttpMethod m (HttpMethod/values)]
    (is (identical? m (HttpMethod/fromKeyword (.KEY m)))))
  (are [k message] (thrown-with-msg? RuntimeException message (HttpMethod/fromKeyword k))
    :GET  #"^unsupported method :GET$"
    :foo  #"^unsupported method :foo$"
    nil   #"^unsupported method "))

(deftest http-version-and-proxy-protocol-names
  (is (= ["HTTP_1_0" "HTTP_1_1"] (map str (HttpVersion/values))))
  (is (= ["DISABLED" "ENABLED" "OPTIONAL"] (map str (ProxyProtocolOption/values)))))

;;;; Threads, exceptions, loggers

(deftest prefix-thread-factory-numbers-daemons-from-1
  (let [f  (PrefixThreadFactory. "w-")
        ts (repeatedly 3 #(.newThread f (fn [])))]
    (is (= ["w-1" "w-2" "w-3"] (map #(.getName ^Thread %) ts)))
    (is (every? #(.isDaemon ^Thread %) ts))
    (is (= "w-1" (.getName (.newThread (PrefixThreadFactory. "w-") (fn [])))) "own numbers")))

(deftest exceptions-stand-where-callers-catch-them
  (are [sub super] (= super (.getSuperclass ^Class sub))
    HTTPException            Exception
    ProtocolException        HTTPException
    HeadersTooLargeException ProtocolException
    LineTooLargeException    HTTPException
    RequestTooLargeException HTTPException
    TimeoutException         HTTPException
    AbortException           HTTPException
    ContentTooLargeException RuntimeException
    WebSocketException       ProtocolException))

(deftest exceptions-carry-their-message
  (doseq [^Class c [HTTPException ProtocolException HeadersTooLargeException
                    LineTooLargeException RequestTooLargeException TimeoutException
                    AbortException ContentTooLargeException]
          :let [k (.getConstructor c (into-array Class [String]))]]
    (is (= "m" (.getMessage ^Throwable (.newInstance k (object-array ["m"])))) (str c)))
  (let [e (WebSocketException. 1009 "big")]
    (is (= [1009 "big"] [(.getCloseStatus e) (.getMessage e)]))))

(deftest event-names-default-and-can-be-replaced
  (are [field default] (= default (field EventNames/DEFAULT) (field (EventNames. {})))
    #(.serverAcceptError ^EventNames %)       "httpkit.server.accept.error"
    #(.serverLoopError ^EventNames %)         "httpkit.server.loop.error"
    #(.serverWsDecodeError ^EventNames %)     "httpkit.server.ws.decode.error"
    #(.serverWsFrameError ^EventNames %)      "httpkit.server.ws.frame.error"
    #(.serverChannelCloseError ^EventNames %) "httpkit.server.channel.close.error"
    #(.serverTlsHandshakeError ^EventNames %) "httpkit.server.tls.handshake.error"
    #(.serverStatusPrefix ^EventNames %)      "httpkit.server.status.processed."
    #(.serverStatus404 ^EventNames %)         "httpkit.server.status.404"
    #(.serverStatus413 ^EventNames %)         "httpkit.server.status.413"
    #(.serverStatus414 ^EventNames %)         "httpkit.server.status.414"
    #(.serverStatus500 ^EventNames %)         "httpkit.server.status.500"
    #(.serverStatus503 ^EventNames %)         "httpkit.server.status.503"
    #(.serverStatus503Todo ^EventNames %)     "httpkit.server.status.503.todo"
    #(.clientImpossible ^EventNames %)        "httpkit.client.impossible")
  (let [names (EventNames. {"serverStatus404" "nope" "unknown" "x"})]
    (is (= "nope" (.serverStatus404 names)))
    (is (= "httpkit.server.status.500" (.serverStatus500 names)))))

(defn- captured-err [f]
  (let [old System/err
        out (ByteArrayOutputStream.)]
    (System/setErr (PrintStream. out true "UTF-8"))
    (try (f) (finally (System/setErr old)))
    (str out)))

(deftest loggers-log
  (let [err (captured-err #(.log ContextLogger/ERROR_PRINTER "what 100%d" (Exception. "why")))
        [line & trace] (str/split-lines err)]
    (is (str/ends-with? line
          (str " [" (.getName (Thread/currentThread)) "] ERROR - what 100%d")))
    (is (re-find #"^\w{3} \w{3} \d\d \d\d:\d\d:\d\d " line) "java.util.Date's form")
    (is (= "java.lang.Exception: why" (first trace)))
    (is (str/starts-with? (second trace) "\tat ")))
  (is (str/ends-with? (str/trim (captured-err #(HttpUtils/printError nil nil))) "ERROR - null"))
  (is (= "" (captured-err #(.log EventLogger/NOP "event"))))
  (testing "users make their own"
    (let [seen (atom [])]
      (.log ^ContextLogger (reify ContextLogger (log [_ m e] (swap! seen conj [m e]))) "m" 1)
      (.log ^EventLogger (reify EventLogger (log [_ e] (swap! seen conj e))) "e")
      (is (= [["m" 1] "e"] @seen)))))

;;;; Frames

(deftest frames-hold-their-payload
  (let [data (bytes-of "hi")]
    (doseq [^Frame f [(Frame$PingFrame. data) (Frame$PongFrame. data)
                      (Frame$TextFrame. data) (Frame$BinaryFrame. data)
                      (Frame$CloseFrame. data)]]
      (is (identical? data (.data f)))))
  (is (= "é" (.getText (Frame$TextFrame. (.getBytes "é" "UTF-8"))))))

(deftest close-frames-have-a-code-and-a-reason
  (are [payload code reason] (= [code reason]
                                (let [f (Frame$CloseFrame. (byte-array payload))]
                                  [(.getStatus f) (.getReason f)]))
    []                1005 ""
    [3]               1005 ""
    [3 -24]           1000 ""
    [3 -15 98 121 101] 1009 "bye"
    [-1 -1]           65535 ""))

(deftest opcodes-are-compile-time-constants
  (are [op n] (= n op)
    WSDecoder/OPCODE_CONT 0, WSDecoder/OPCODE_TEXT 1, WSDecoder/OPCODE_BINARY 2
    WSDecoder/OPCODE_CLOSE 8, WSDecoder/OPCODE_PING 9, WSDecoder/OPCODE_PONG 10)
  (is (= Byte/TYPE (.getType (.getField WSDecoder "OPCODE_TEXT")))))
