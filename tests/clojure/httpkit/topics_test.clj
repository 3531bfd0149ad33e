(ns httpkit.topics-test
  "Topics: subscribers get what is published, until they unsubscribe or close."
  (:require [clojure.test       :refer [deftest is testing]]
            [httpkit.wire       :as wire]
            [httpkit.ws-wire    :as ws]
            [org.httpkit.client :as client]
            [org.httpkit.server :as server]
            [org.httpkit.topics :as topics])
  (:import (java.io Closeable)
           (java.util.concurrent CountDownLatch LinkedBlockingQueue TimeUnit)))

(set! *warn-on-reflection* true)

(defn- next-of [^LinkedBlockingQueue queue]
  (.poll queue wire/patience-ms TimeUnit/MILLISECONDS))

(defn- run-server ^Closeable [handler options]
  (let [server (server/run-server handler (merge {:port 0, :ip "127.0.0.1", :legacy-return-value? false} options))]
    [server (reify Closeable (close [_] (server/server-stop! server)))]))

(defmacro ^:private with-opened
  "A `server` whose channels are put into the queue `opened`."
  [[server opened options] & body]
  `(let [~opened         (LinkedBlockingQueue.)
         [~server stop#] (run-server (fn [req#]
                                       (server/as-channel req#
                                         (merge {:on-open (fn [ch#]
                                                            (when (= (:uri req#) "/stream")
                                                              (server/send! ch# {:status 200 :body ""} false))
                                                            (.put ^LinkedBlockingQueue ~opened ch#))}
                                                ~options)))
                           {})]
     (with-open [_# ^Closeable stop#] ~@body)))

(defn- web-socket [server opened]
  (let [peer (ws/connect (server/server-port server) wire/patience-ms)]
    [peer (next-of opened)]))

(defn- stream [server opened]
  (let [conn (doto (wire/connect (server/server-port server))
               (wire/send! (wire/get-request "/stream"))
               wire/read-head)]
    [conn (next-of opened)]))

(defn- read-chunk [conn]
  (let [size  (Long/parseLong (wire/read-line! conn) 16)
        chunk (String. ^bytes (wire/read-exactly conn size) "UTF-8")]
    (wire/read-line! conn)
    chunk))

(deftest subscribers-of-any-kind-get-what-is-published-in-order-and-others-do-not
  (with-opened [server opened {}]
    (let [[peer socket] (web-socket server opened)
          [conn stream] (stream server opened)
          [other alone] (web-socket server opened)]
      (is (true? (topics/subscribe! socket "room/1")))
      (is (true? (topics/subscribe! socket "room/1")) "a second time changes nothing")
      (is (true? (topics/subscribe! stream "room/1")))
      (is (true? (topics/subscribe! socket "room/2")))
      (is (true? (topics/subscribe! alone "room/10")))
      (is (= [2 1 0] (map #(topics/subscribers server %) ["room/1" "room/2" "room"])))
      (is (= #{"room/1" "room/2"} (topics/topics socket)))
      (is (= #{"room/1" "room/2" "room/10"} (topics/topics server)))
      (is (= 2 (topics/publish! server "room/1" "one")))
      (is (= 1 (topics/publish! stream "room/1" "two" {:except socket})) "a channel stands for its server")
      (is (= 1 (topics/publish! server "room/2" "three")))
      (is (= 0 (topics/publish! server "nowhere" "four")))
      (is (= 2 (topics/publish! server "room/1" "five" {:on-overflow :reject})))
      (is (= 1 (topics/publish! server "room/10" "six")))
      (is (= [[:text "one"] [:text "three"] [:text "five"]] (repeatedly 3 #(ws/receive! peer))))
      (is (= ["one" "two" "five"] (repeatedly 3 #(read-chunk conn))))
      (is (= [:text "six"] (ws/receive! other)))
      (.close ^Closeable conn)
      (run! ws/disconnect [peer other]))))

(deftest unsubscribing-ends-one-subscription-and-the-last-one-the-topic
  (with-opened [server opened {}]
    (let [[peer socket] (web-socket server opened)]
      (run! #(topics/subscribe! socket %) ["a" "b"])
      (is (true? (topics/unsubscribe! socket "a")))
      (is (false? (topics/unsubscribe! socket "a")))
      (is (= #{"b"} (topics/topics socket) (topics/topics server)))
      (is (= 0 (topics/publish! server "a" "x")))
      (is (true? (topics/subscribe! socket "a")) "again")
      (is (= 1 (topics/publish! server "a" "y")))
      (is (= [:text "y"] (ws/receive! peer)))
      (ws/disconnect peer))))

(deftest a-closing-channel-can-tell-its-topics-and-has-none-afterwards
  (let [told (LinkedBlockingQueue.)]
    (with-opened [server opened {:on-close (fn [ch _]
                                             (.put told (topics/topics ch))
                                             (topics/publish! ch "room" "left"))}]
      (let [[peer staying] (web-socket server opened)
            closings       [["the peer leaves"    (fn [leaving _] (ws/disconnect leaving))]
                            ["the server closes"  (fn [_ ch] (server/close ch))]
                            ["last message"       (fn [_ ch] (server/send! ch "bye" true))]]]
        (topics/subscribe! staying "room")
        (doseq [[how close!] closings]
          (testing how
            (let [[leaving ch] (web-socket server opened)]
              (run! #(topics/subscribe! ch %) ["room" "private"])
              (close! leaving ch)
              (is (= #{"room" "private"} (next-of told)))
              (is (= [:text "left"] (ws/receive! peer)))
              (is (wire/eventually #(= [1 0] [(topics/subscribers server "room") (topics/subscribers server "private")])))
              (is (= #{} (topics/topics ch)))
              (is (false? (topics/subscribe! ch "room")))
              (is (= #{"room"} (topics/topics server)))
              (ws/disconnect leaving))))
        (topics/unsubscribe! staying "room")
        (ws/disconnect peer)))))

;; The connection's end is told to another thread than the one that closes and runs the handler.
(deftest a-channel-that-we-close-has-its-topics-until-its-close-handler-has-run
  (doseq [open [web-socket stream], close! [server/close #(server/send! % "bye" true)]]
    (let [told   (promise)
          ended  (promise)
          closes (fn [ch _]
                   (let [at-first (topics/topics ch)]
                     (deref ended wire/patience-ms nil)
                     ;; Time for what must not happen.
                     (Thread/sleep 50)
                     (deliver told [at-first (topics/topics ch)])))]
      (with-opened [server opened {:on-close closes}]
        (let [[peer ch]   (open server opened)
              connections #(get-in (server/server-stats server) [:connections :open])]
          (topics/subscribe! ch "room")
          (let [closing (future (close! ch))]
            (is (wire/eventually #(not (server/open? ch))) "else the peer's end would run the handlers")
            (if (= open web-socket)
              (ws/disconnect peer)
              (.close ^Closeable peer))
            (is (wire/eventually #(zero? (long (connections)))))
            (deliver ended true)
            (is (= [#{"room"} #{"room"}] (deref told wire/patience-ms nil)))
            @closing
            (is (= #{} (topics/topics ch) (topics/topics server)))))))))

(deftest a-request-without-a-response-may-subscribe-and-wait
  (with-opened [server opened {}]
    (let [response (client/get (str "http://127.0.0.1:" (server/server-port server) "/"))
          waiting  (next-of opened)]
      (is (true? (topics/subscribe! waiting "news")))
      (is (= 1 (topics/publish! server "news" "at last" {:close-after-send? true})))
      (is (= "at last" (:body (deref response wire/patience-ms nil))))
      (is (wire/eventually #(zero? (long (topics/subscribers server "news"))))))))

(deftest subscriptions-of-channels-that-close-meanwhile-are-not-left-behind
  (with-opened [server opened {}]
    (let [rounds 40
          start  (LinkedBlockingQueue.)]
      (dotimes [_ rounds]
        (let [[peer ch] (web-socket server opened)
              latch     (CountDownLatch. 1)
              joining   (mapv (fn [n] (future (.await latch) (topics/subscribe! ch (str "t" n)) (topics/unsubscribe! ch "t1")))
                              (range 3))
              closing   (future (.await latch) (server/close ch))]
          (.countDown latch)
          (run! deref (conj joining closing))
          (ws/disconnect peer)
          (.put start ch)))
      (is (wire/eventually #(empty? (topics/topics server))) (pr-str (topics/topics server)))
      (is (every? #(= #{} (topics/topics %)) start)))))

(deftest wrong-arguments-are-named
  (with-opened [server opened {}]
    (let [[peer socket] (web-socket server opened)]
      (topics/subscribe! socket "t")
      (doseq [[f message]
              [[#(topics/subscribe! nil "t")                  #"subscribe! of nil: expected a channel"]
               [#(topics/subscribe! socket :t)                #"subscribe! :t: expected the name of a topic, a String"]
               [#(topics/unsubscribe! socket nil)             #"unsubscribe! nil: expected the name of a topic"]
               [#(topics/publish! "server" "t" "x")           #"\"server\": expected an HttpServer, a channel or a bridge"]
               [#(topics/publish! nil "t" "x")                #"nil: expected an HttpServer, a channel or a bridge"]
               [#(topics/subscribers (fn []) "t")             #"the server is \(:server \(meta it\)\)"]
               [#(topics/publish! server "t" "x" {:but 1})    #"but is no option of publish!"]
               [#(topics/publish! server "t" "x" {:except 1}) #"except 1: expected a channel"]
               [#(topics/publish! server "t" 7)               #"cannot send a java.lang.Long"]
               [#(topics/bridge server {:publish prn})        #"subscribe nil: expected a function of a topic"]
               [#(topics/bridge server {:publish prn :subscribe prn :x 1}) #"x is no option of bridge"]
               [#(topics/bridge server nil)                   #"publish nil: expected a function of a topic"]
               [#(topics/bridge server "x")                   #"options \"x\" of bridge: expected a map"]
               [#(topics/bridge server [1])                   #"options of class .* of bridge: expected a map"]
               [#(topics/bridge server {:publish :p :subscribe prn}) #"publish :p: expected a function of a topic and bytes"]
               [#(topics/bridge server {:publish prn :subscribe {}}) #"subscribe of class .*: expected a function of a topic"]]]
        (is (thrown-with-msg? IllegalArgumentException message (f))))
      (ws/disconnect peer))))

;;;; Bridges: a broker in memory stands for Redis

(defn- broker []
  (let [listeners (atom {}), log (atom [])]
    {:log       log
     :publish   (fn [topic bytes]
                  (swap! log conj [:publish topic])
                  (run! #(% bytes) (vals (@listeners topic))))
     :subscribe (fn [topic on-message]
                  (let [id (Object.)]
                    (swap! log conj [:subscribe topic])
                    (swap! listeners assoc-in [topic id] on-message)
                    (fn []
                      (swap! log conj [:unsubscribe topic])
                      (swap! listeners update topic dissoc id))))}))

(defn- bridge ^Closeable [server broker]
  (topics/bridge server (select-keys broker [:publish :subscribe])))

(deftest a-bridge-reaches-the-subscribers-in-each-process-once
  (with-opened [server-1 opened-1 {}]
    (with-opened [server-2 opened-2 {}]
      (let [broker      (broker)
            [peer-1 ch-1] (web-socket server-1 opened-1)
            [peer-2 ch-2] (web-socket server-2 opened-2)]
        (topics/subscribe! ch-1 "room")
        (with-open [rooms-1 (bridge server-1 broker)
                    rooms-2 (bridge server-2 broker)]
          (topics/subscribe! ch-2 "room")
          (is (= 1 (topics/publish! rooms-1 "room" "text é")))
          (is (= 1 (topics/publish! rooms-2 "room" (.getBytes "bytes"))))
          (is (= 1 (topics/publish! server-1 "room" "local")))
          (is (= 0 (topics/publish! rooms-1 "room" "for others" {:except ch-1})))
          (is (= 1 (topics/subscribers rooms-2 "room")))
          (is (= [(ws/expected [:text "text é"]) [:binary "bytes"] [:text "local"]] (repeatedly 3 #(ws/receive! peer-1))))
          (is (= [(ws/expected [:text "text é"]) [:binary "bytes"] [:text "for others"]] (repeatedly 3 #(ws/receive! peer-2))))
          (is (= 2 (count (filter #{[:subscribe "room"]} @(:log broker)))))
          (doseq [[data shown] [[nil "nil"] [7 "7"] [[1] "of class clojure.lang.PersistentVector"]]]
            (is (thrown-with-msg? IllegalArgumentException
                                  (re-pattern (str "publish! of data " shown " on a bridge: expected a String or a byte array"))
                                  (topics/publish! rooms-1 "room" data))))
          (is (thrown-with-msg? IllegalStateException #"this server has a bridge" (bridge server-1 broker))))
        (run! ws/disconnect [peer-1 peer-2])))))

(deftest a-bridge-is-told-of-first-subscribers-and-of-ends-in-their-order
  (with-opened [server opened {}]
    (let [broker        (broker)
          [peer-1 ch-1] (web-socket server opened)
          [peer-2 ch-2] (web-socket server opened)
          left          #(count (filter #{[:unsubscribe "room"]} @(:log broker)))]
      (with-open [_ (bridge server broker)]
        (run! #(topics/subscribe! % "room") [ch-1 ch-2])
        (is (= [[:subscribe "room"]] @(:log broker)))
        (topics/unsubscribe! ch-1 "room")
        (server/close ch-2)
        (is (wire/eventually #(= 1 (left))))
        (dotimes [_ 200]
          (topics/subscribe! ch-1 "room")
          (topics/unsubscribe! ch-1 "room"))
        (topics/subscribe! ch-1 "room")
        (is (wire/eventually #(= [:subscribe "room"] (last @(:log broker)))))
        (is (= (repeat (left) [[:subscribe "room"] [:unsubscribe "room"]])
               (partition 2 @(:log broker))) "never two of the same in a row"))
      (is (= [:unsubscribe "room"] (last @(:log broker))) "closing the bridge ends it")
      (is (= #{"room"} (topics/topics ch-1)) "and not the channel's subscription")
      (run! ws/disconnect [peer-1 peer-2]))))

(deftest a-channel-that-closes-while-a-bridge-subscribes-leaves-nothing-outside
  (with-opened [server opened {}]
    (let [broker  (broker)
          [peer ch] (web-socket server opened)
          slowly  (fn [topic on-message]
                    (server/close ch)
                    ((:subscribe broker) topic on-message))]
      (with-open [_ (topics/bridge server (assoc (select-keys broker [:publish]) :subscribe slowly))]
        (is (false? (topics/subscribe! ch "user/7")))
        (is (wire/eventually #(= [[:subscribe "user/7"] [:unsubscribe "user/7"]] @(:log broker)))))
      (ws/disconnect peer))))

(deftest a-failing-close-callback-here-keeps-nothing-from-other-processes
  (with-opened [server opened {:on-close (fn [_ _] (throw (IllegalStateException. "on-close")))}]
    (let [broker    (broker)
          [peer ch] (web-socket server opened)]
      (with-open [rooms (bridge server broker)]
        (topics/subscribe! ch "room")
        (is (thrown-with-msg? IllegalStateException #"on-close"
                              (topics/publish! rooms "room" "last" {:close-after-send? true})))
        (is (some #{[:publish "room"]} @(:log broker))))
      (ws/disconnect peer))))

(deftest what-a-bridges-callbacks-throw-reaches-the-caller
  (with-opened [server opened {}]
    (let [[peer ch] (web-socket server opened)
          failing   (fn [& _] (throw (IllegalStateException. "no connection")))]
      (with-open [_ (topics/bridge server {:publish prn, :subscribe failing})]
        (is (thrown-with-msg? IllegalStateException #"no connection" (topics/subscribe! ch "room")))
        (is (= #{} (topics/topics ch) (topics/topics server))))
      (doseq [[returned class message] [[nil NullPointerException #":subscribe returned nil: expected a function"]
                                        [:id ClassCastException   #":subscribe returned :id: expected a function"]]]
        (with-open [_ (topics/bridge server {:publish prn, :subscribe (constantly returned)})]
          (let [thrown (try (topics/subscribe! ch "room") (catch RuntimeException t t))]
            (is (= class (clojure.core/class thrown)))
            (is (re-find message (str (ex-message thrown))))
            (is (= #{} (topics/topics ch) (topics/topics server))))))
      (topics/subscribe! ch "room")
      (is (thrown-with-msg? IllegalStateException #"no connection"
                            (topics/bridge server {:publish prn, :subscribe failing})))
      (let [rooms (topics/bridge server {:publish failing, :subscribe (constantly (fn []))})]
        (is (thrown-with-msg? IllegalStateException #"no connection" (topics/publish! rooms "room" "x")))
        (is (= [:text "x"] (ws/receive! peer)) "the subscribers here have it")
        (.close ^Closeable rooms)
        (.close ^Closeable rooms)
        (is (thrown-with-msg? IllegalStateException #"bridge that is closed" (topics/publish! rooms "room" "y"))))
      (let [received (atom nil)]
        (with-open [_ (topics/bridge server {:publish   prn
                                             :subscribe (fn [_ on-message] (reset! received on-message) (fn []))})]
          (doseq [wrong [nil "text" (byte-array 3) (byte-array 40)]]
            (is (thrown-with-msg? IllegalArgumentException #"expected the bytes that :publish of a bridge was given"
                                  (@received wrong))))))
      (ws/disconnect peer))))
