(ns httpkit.channel-parts-test
  "Long bodies that come in small parts: they leave together, and none waits for the next."
  (:require [clojure.test :refer [deftest is testing]]
            [httpkit.channel-wire :as wire]
            [org.httpkit.server :as server]
            [ring.core.protocols :as ring])
  (:import (java.io DataInputStream InputStream OutputStream)
           (java.lang.management ManagementFactory)
           (java.util.concurrent.locks LockSupport)
           (java.util.zip Inflater)))

(set! *warn-on-reflection* true)

(def ^:private parts 30000)

(def ^:private rows (mapv #(format "row %05d\n" %) (range parts)))

(defn- part ^String [n] (nth rows n))

(def ^:private whole (apply str rows))

(defn- stream-of
  "An InputStream whose every read returns one element of `texts`."
  ^InputStream [texts]
  (let [left (atom texts)]
    (proxy [InputStream] []
      (read
        ([] (throw (UnsupportedOperationException.)))
        ([buffer] (.read ^InputStream this buffer 0 (alength ^bytes buffer)))
        ([buffer start _]
         (if-let [^String text (first @left)]
           (let [bytes (.getBytes text)]
             (swap! left rest)
             (System/arraycopy bytes 0 buffer start (alength bytes))
             (alength bytes))
           -1))))))

(def ^:private kinds
  {"seq in chunks"          #(map part (range parts))
   "seq, one by one"        #(map part (take parts (iterate inc 0)))
   "InputStream"            #(stream-of (map part (take parts (iterate inc 0))))
   "StreamableResponseBody" #(reify ring/StreamableResponseBody
                               (write-body-to-stream [_ _ out]
                                 (with-open [^OutputStream out out]
                                   (dotimes [n parts]
                                     (.write out (.getBytes (part n)))))))})

(defn- read-chunk!
  "The next chunk's bytes, nil for the last one."
  [{:keys [^DataInputStream in]}]
  (let [size  (Long/parseLong (.readLine in) 16)
        bytes (byte-array size)]
    (.readFully in bytes)
    (.readLine in)
    (when (pos? size) bytes)))

(def ^:private gzip-header-bytes 10)

(defn- decoder
  "A function that decodes the next chunk of a body in this coding, as far as it can be decoded."
  [coding]
  (if (= "identity" coding)
    (fn [^bytes chunk] (String. chunk "ISO-8859-1"))
    (let [inflater (Inflater. true)
          text     (byte-array 65536)
          skipped  (atom gzip-header-bytes)]
      (fn [^bytes chunk]
        (.setInput inflater chunk @skipped (- (alength chunk) (long @skipped)))
        (reset! skipped 0)
        (String. text 0 (.inflate inflater text) "ISO-8859-1")))))

(defn- get! [port & lines]
  (let [conn (wire/connect port)]
    (wire/write! conn (apply wire/get-request "/" lines))
    (assoc conn :head (wire/read-head! conn))))

(deftest small-parts-leave-together
  (doseq [[kind body] kinds
          options     [{} {:ring-async? true}]]
    (testing (str kind " " options)
      (wire/with-server [{:keys [port errors]}
                         (fn ([_] {:body (body)}) ([_ respond _] (respond {:body (body)})))
                         options]
        (let [{:keys [text chunks complete?]} (wire/exchange port (wire/get-request "/"))]
          (is (= [whole true] [text complete?]))
          (is (< (count chunks) (/ parts 10)))
          (is (empty? @errors)))))))

(deftest small-parts-are-compressed-together
  (doseq [[kind body] kinds]
    (testing kind
      (wire/with-server [{:keys [port]}
                         (fn [_] {:headers {"Content-Type" "text/csv"} :body (body)})
                         {:compression true}]
        (let [{:keys [headers chunks]} (wire/exchange port (wire/get-request "/" "Accept-Encoding: gzip"))]
          (is (= "gzip" (get headers "content-encoding")))
          (is (< (reduce + chunks) (/ (count whole) 2))))))))

(deftest no-part-waits-for-the-next-one
  (doseq [type   ["text/plain" "text/event-stream"]
          coding ["identity" "gzip"]
          [kind make] {"seq"         identity
                       "InputStream" stream-of
                       "StreamableResponseBody"
                       (fn [texts]
                         (reify ring/StreamableResponseBody
                           (write-body-to-stream [_ _ out]
                             (with-open [^OutputStream out out]
                               (doseq [^String text texts]
                                 (.write out (.getBytes text)))))))}]
    (testing (str kind ", " type ", " coding)
      (let [go-on (promise)
            ready (str (apply str (repeat 200 "0123456789")) "abc")]
        (wire/with-server [{:keys [port]}
                           (fn [_]
                             {:headers {"Content-Type" type}
                              :body    (make (concat (repeat 200 "0123456789") ["a" "b" "c"]
                                                     (lazy-seq (wire/outcome go-on) ["end"])))})
                           {:body-buffer-size 1000 :compression {:min-size 0}}]
          (let [conn   (get! port (str "Accept-Encoding: " coding))
                decode (decoder coding)]
            (is (= ready (loop [text ""]
                           (if (<= (count ready) (count text))
                             text
                             (recur (str text (decode (read-chunk! conn))))))))
            (deliver go-on true)
            (is (= "end" (decode (read-chunk! conn))))
            (wire/disconnect conn)))))))

(deftest what-was-produced-before-a-failure-is-sent-before-the-cut
  (wire/with-server [{:keys [port errors]}
                     (fn [_] {:body (concat (repeat 300 "0123456789") (lazy-seq (throw (ex-info "no more" {}))))})
                     {:body-buffer-size 1000}]
    (let [{:keys [complete? text]} (wire/exchange port (wire/get-request "/"))]
      (is (not complete?))
      (is (= 3000 (count text))))
    (is (wire/eventually #(= 1 (count @errors))))))

(deftest a-body-of-small-parts-ends-when-its-client-leaves
  (doseq [kind ["seq" "StreamableResponseBody"]]
    (testing kind
      (let [parts (atom 0)
            part! (fn [] (LockSupport/parkNanos 300000) (swap! parts inc) "x")
            body  {"seq"                    #(repeatedly part!)
                   "StreamableResponseBody" #(reify ring/StreamableResponseBody
                                               (write-body-to-stream [_ _ out]
                                                 (loop []
                                                   (.write ^OutputStream out (.getBytes ^String (part!)))
                                                   (recur))))}]
        (wire/with-server [{:keys [port]} (fn [_] {:body ((body kind))}) {:body-buffer-size 10}]
          (let [conn (get! port)]
            (is (some? (read-chunk! conn)))
            (wire/disconnect conn))
          (is (wire/settled 200 #(deref parts))))))))

(defn- watched
  "How many bodies the timer watches."
  []
  (let [field (doto (.getDeclaredField (Class/forName "org.httpkit.server.SilentBodies") "BODIES")
                (.setAccessible true))]
    (count (.get field nil))))

(deftest an-empty-part-leaves-nothing-behind
  (wire/with-server [{:keys [port]} (fn [_] {:body (list (apply str (repeat 300000 "x")) "")}) {:body-buffer-size 10}]
    (let [conn (get! port)]
      (is (= 300000 (alength ^bytes (:bytes (wire/read-body! conn (:head conn))))))
      (wire/disconnect conn))
    (is (wire/eventually #(zero? (long (watched)))))))

(defn- pump-nanos
  "Processor time that the threads that send bodies have taken."
  []
  (let [bean (ManagementFactory/getThreadMXBean)]
    (reduce (fn [sum id]
              (let [info (.getThreadInfo bean (long id))]
                (if (and info (.startsWith (.getThreadName info) "http-kit-server-body-"))
                  (+ sum (max 0 (.getThreadCpuTime bean id)))
                  sum)))
            0 (.getAllThreadIds bean))))

(deftest a-body-waits-without-work-while-the-server-holds-too-much
  (let [piece   (apply str (repeat 30000 "x"))
        started (promise)
        go-on   (promise)
        pending #(get-in (server/server-stats %) [:bytes :pending])
        rows    (fn rows [left]
                  (lazy-seq
                    (when (pos? left)
                      (when (pos? (pending @started))
                        (wire/outcome go-on))
                      (cons piece (rows (dec left))))))]
    (wire/with-server [{:keys [port server]}
                       (fn [{:keys [uri] :as req}]
                         (if (= "/channel" uri)
                           (server/as-channel req {:on-open (fn [ch] (server/send! ch {:body (byte-array 30000000)} false))})
                           {:body (rows 500)}))
                       {:max-buffered-bytes 1000000 :allow-virtual? false :max-pending-bytes 100000000}]
      (deliver started server)
      (let [slow    (get! port)
            _       (is (wire/eventually #(pos? (pending server))))
            channel (wire/connect port :receive-buffer 4096)]
        (wire/write! channel (wire/get-request "/channel"))
        (is (wire/eventually #(< 1000000 (get-in (server/server-stats server) [:bytes :held]))))
        (deliver go-on true)
        (let [before (pump-nanos)]
          (Thread/sleep 1000) ; What is measured.
          (is (< (- (pump-nanos) before) 50000000)))
        (wire/disconnect channel)
        (is (= (* 500 30000) (alength ^bytes (:bytes (wire/read-body! slow (:head slow))))) "and goes on afterwards")
        (wire/disconnect slow)))))
